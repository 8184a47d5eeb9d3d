// Pages that move beside steps in flight: a model of a GPU's two streams, run in random order, in
// which every step checks what it reads.
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <deque>
#include <functional>
#include <optional>
#include <random>

#include "base/error.h"
#include "engine/kv_prefix_cache.h"

namespace dak {
namespace {

// Two queues in order; work of one may wait for a part of the other.
class Streams final : public PageMover {
 public:
  explicit Streams(uint32_t seed) : random_(seed), late_(seed % 2 == 0 ? 2 : 8) {}

  void copy(std::byte* to, const std::byte* from, int64_t size_bytes) override {
    if (!batch_open_) batch_needs_ = steps_.issued;
    batch_open_ = true;
    copies_.issue(batch_needs_, [=] { std::copy_n(from, size_bytes, to); });
  }
  int64_t mark() override {
    batch_open_ = false;
    marks_.push_back(copies_.issued);
    return std::ssize(marks_);
  }
  int64_t passed() override {
    run_some();
    return std::ranges::count_if(marks_, [this](int64_t mark) { return mark <= copies_.done; });
  }
  void hold_steps() override {
    batch_open_ = false;
    step_needs_ = copies_.issued;
  }
  void wait() override {
    while (copies_.done < copies_.issued) run_one();
  }

  void step(std::function<void()> work) { steps_.issue(step_needs_, std::move(work)); }
  // Until at most `most` steps are in flight.
  void finish(int64_t most) {
    while (steps_.issued - steps_.done > most) run_one();
  }
  void run_some() {
    for (auto i = random_() % 4; i > 0; --i) run_one();
  }

 private:
  struct Work {
    int64_t needs;  // of the other queue, done
    std::function<void()> run;
  };
  struct Queue {
    std::deque<Work> work;
    int64_t issued = 0;
    int64_t done = 0;

    void issue(int64_t needs, std::function<void()> run) {
      work.push_back({needs, std::move(run)});
      ++issued;
    }
    bool run_one(const Queue& other) {
      if (work.empty() || work.front().needs > other.done) return false;
      const Work first = std::move(work.front());
      work.pop_front();
      first.run();
      ++done;
      return true;
    }
  };

  void run_one() {
    const bool copies_first = random_() % late_ == 0;
    if (copies_first && copies_.run_one(steps_)) return;
    if (steps_.run_one(copies_)) return;
    copies_.run_one(steps_);
  }

  std::mt19937 random_;
  uint32_t late_;  // the larger, the later are copies
  Queue steps_;
  Queue copies_;
  std::vector<int64_t> marks_;
  bool batch_open_ = false;
  int64_t batch_needs_ = 0;
  int64_t step_needs_ = 0;
};

constexpr int64_t kLayers = 2;
constexpr int64_t kPages = 16;  // of each layer

// Sequences whose every token leaves a byte in its page; whole pages are kept and shared.
class Sequences {
 public:
  // `counts_early`: a sequence counts its tokens when the cache has room for them, before the next
  // one asks for its own and long before the pass of all of them is enqueued.
  Sequences(double ratio, uint32_t seed, bool counts_early)
      : random_(seed), counts_early_(counts_early), streams_(seed + 1) {
    const std::array arenas{local_.get(), host_.get()};
    cache_.emplace(ModelConfig{.layers = kLayers, .heads = 1, .kv_heads = 1, .head_size = 8},
                   DType::kF16, uniform_kv_room(kLayers, kPages, ratio), arenas);
    cache_->use_mover(streams_);
    prefixes_.emplace(*cache_);
    for (Sequence& s : sequences_) s.place = prefixes_->enter("");
  }
  ~Sequences() {
    for (Sequence& s : sequences_) {
      s.place.reset();
      cache_->release(s.hold);
    }
  }

  void decode(int steps) {
    for (int step = 0; step < steps; ++step) {
      disturb();
      launch();
      streams_.finish(static_cast<int64_t>(random_() % 3));
      streams_.run_some();
    }
    streams_.finish(0);
  }

  int64_t background_moves() const { return later_; }
  int64_t shared_tokens() const { return shared_; }

 private:
  struct Sequence {
    std::unique_ptr<KvPrefixCache::Place> place;
    KvHold hold;
    std::vector<TokenId> tokens;
    int64_t kept = 0;  // pages that others may have too
  };

  static std::byte mark(TokenId token, int64_t layer) {
    return static_cast<std::byte>(token + layer * 3);
  }

  // What happens between steps.
  void disturb() {
    cache_->rebalance(static_cast<int64_t>(random_() % 4));
    for (Sequence& s : sequences_) {
      if (s.hold.page_count() == 0 || random_() % 4 != 0) continue;
      const auto when = random_() % 2 == 0 ? KvCache::When::kNow : KvCache::When::kLater;
      const bool moved = cache_->move(s.hold, random_() % kLayers, random_() % s.hold.page_count(),
                                      static_cast<TierIndex>(random_() % 2), when);
      later_ += moved && when == KvCache::When::kLater;
    }
    Sequence& s = sequences_[random_() % sequences_.size()];
    if (random_() % 16 == 0) {  // what was sampled is taken back, or the sequence ends
      if (random_() % 2 == 0) {
        const auto kept = static_cast<size_t>(s.kept * kPageTokens);
        s.tokens.resize(kept + random_() % (s.tokens.size() - kept + 1));
        s.hold.tokens = std::ssize(s.tokens);
      } else {
        begin_again(s);
      }
    }
    if (random_() % 8 == 0) s.hold.resting = !s.hold.resting;
  }

  // With what is left of the tokens of another, or of those that it had.
  void begin_again(Sequence& s) {
    const std::vector<TokenId> tokens = sequences_[random_() % sequences_.size()].tokens;
    s.place.reset();
    cache_->release(s.hold);
    s.place = prefixes_->enter("");
    const int64_t found = prefixes_->adopt(*s.place, s.hold, tokens);
    s.tokens.assign(tokens.begin(), tokens.begin() + found);
    s.kept = found / kPageTokens;
    shared_ += found;
  }

  // A step that writes some tokens of every sequence that there is room for, and reads all.
  void launch() {
    std::vector<int64_t> counts;
    for (Sequence& s : sequences_) {
      const bool is_prompt = random_() % (counts_early_ ? 3 : 20) == 0;
      const auto most = static_cast<int64_t>(is_prompt ? 70 : 1);
      const int64_t room = s.hold.page_count() * kPageTokens + cache_->free_tokens() +
                           cache_->cold_pages() * kPageTokens - s.hold.tokens;
      counts.push_back(std::min(most, room));
      cache_->reserve(s.hold, s.hold.tokens + counts.back());
      if (counts_early_) s.hold.tokens += counts.back();
    }
    for (size_t i = 0; i < sequences_.size(); ++i) {
      Sequence& s = sequences_[i];
      const auto past = s.tokens.size();
      for (int64_t t = 0; t < counts[i]; ++t) {
        s.tokens.push_back(static_cast<TokenId>(random_() % 256));
      }
      s.hold.tokens = std::ssize(s.tokens);
      if (s.tokens.empty()) continue;
      streams_.step([pages = s.hold.pages, tokens = s.tokens, past] {
        for (int64_t layer = 0; layer < kLayers; ++layer) {
          const auto at = [&](size_t t) -> std::byte& {
            return pages[static_cast<size_t>(layer)][t / kPageTokens].data[t % kPageTokens];
          };
          for (size_t t = past; t < tokens.size(); ++t) at(t) = mark(tokens[t], layer);
          for (size_t t = 0; t < tokens.size(); ++t) {
            if (at(t) == mark(tokens[t], layer)) continue;  // cheaper than an assertion
            FAIL() << "layer " << layer << ", token " << t;
          }
        }
      });
      prefixes_->keep(*s.place, s.hold, s.tokens);
      s.kept = std::ssize(s.tokens) / kPageTokens;
    }
  }

  std::mt19937 random_;
  bool counts_early_;
  Streams streams_;
  std::unique_ptr<Arena> local_ = make_cpu_arena({.name = "local"});
  std::unique_ptr<Arena> host_ = make_cpu_arena({.name = "host"});
  std::optional<KvCache> cache_;
  std::optional<KvPrefixCache> prefixes_;
  std::array<Sequence, 3> sequences_;
  int64_t later_ = 0;
  int64_t shared_ = 0;
};

TEST(KvMoves, NoStepSeesAPageHalfMoved) {
  int64_t later = 0;
  int64_t shared = 0;
  for (uint32_t seed = 0; seed < 80; ++seed) {
    // From one local page to one remote page.
    Sequences sequences((1 + static_cast<double>(seed % (kPages - 1))) / kPages, seed,
                        /*counts_early=*/seed >= 40);
    sequences.decode(300);
    later += sequences.background_moves();
    shared += sequences.shared_tokens();
    if (testing::Test::HasFailure()) FAIL() << "seed " << seed;
  }
  EXPECT_GT(later, 300);
  EXPECT_GT(shared, 200 * kPageTokens);
}

// Counts what a cache asks for; nothing is made before it is waited for.
class Recorder final : public PageMover {
 public:
  void copy(std::byte*, const std::byte*, int64_t) override { ++copies; }
  int64_t mark() override { return ++marks; }
  int64_t passed() override { return made; }
  void hold_steps() override { ++holds; }
  void wait() override { made = marks; }
  int64_t copies = 0;
  int64_t marks = 0;
  int64_t made = 0;
  int64_t holds = 0;
};

// Eight pages, half of them local.
struct Recorded {
  Recorded() { cache.use_mover(mover); }
  std::unique_ptr<Arena> local = make_cpu_arena({.name = "local"});
  std::unique_ptr<Arena> host = make_cpu_arena({.name = "host"});
  std::array<Arena*, 2> arenas{local.get(), host.get()};
  KvCache cache{{.layers = kLayers, .heads = 1, .kv_heads = 1, .head_size = 8},
                DType::kF16,
                uniform_kv_room(kLayers, 8, 0.5),
                arenas};
  Recorder mover;
};

TEST(KvMoves, PlacesAreFreeBeforeTheyAreNeeded) {
  Recorded r;
  KvHold hold;
  for (; hold.tokens < 6 * kPageTokens; ++hold.tokens) {
    r.cache.reserve(hold, hold.tokens + 1);
    r.mover.made = r.mover.marks;  // well before the next page
  }
  EXPECT_EQ(r.mover.holds, 0) << "steps waited for copies";
  EXPECT_EQ(r.mover.copies, 3 * kLayers);  // pages 0 to 2, for 4 to 6
  EXPECT_EQ(KvCache::pages_in(hold, 1), 3 * kLayers);
  for (const auto& layer : hold.pages) {
    for (size_t page = 0; page < layer.size(); ++page) EXPECT_EQ(layer[page].tier == 1, page < 3);
  }
}

TEST(KvMoves, StepsWaitForACopyThatIsLate) {
  Recorded r;
  KvHold hold;
  for (; hold.tokens < 4 * kPageTokens + 1; ++hold.tokens) r.cache.reserve(hold, hold.tokens + 1);
  EXPECT_EQ(r.mover.copies, kLayers) << "the copies under way were made again";
  EXPECT_EQ(r.mover.holds, 1);
  EXPECT_EQ(hold.pages[0].back().tier, 0);
}

// What fills the page may still have to be enqueued, so a copy begun now would take less than all.
TEST(KvMoves, APageOfThePassUnderWayDoesNotMoveLater) {
  Recorded r;
  KvHold hold;
  r.cache.reserve(hold, 2 * kPageTokens);
  hold.tokens = 2 * kPageTokens;  // counted early
  ASSERT_TRUE(r.cache.move(hold, 0, 1, 1, KvCache::When::kLater));
  EXPECT_EQ(hold.pages[0][1].tier, 1) << "the pass writes to the page's old place";
  EXPECT_EQ(r.mover.holds, 1) << "the pass does not wait for the copy";
}

// The place that it goes to may be anybody's next.
TEST(KvMoves, StepsWaitForACopyThatWasCalledOff) {
  for (const bool ends : {false, true}) {
    Recorded r;
    KvHold hold;
    r.cache.reserve(hold, 2 * kPageTokens);
    hold.tokens = 2 * kPageTokens;
    r.cache.rebalance(0);  // between two passes
    ASSERT_TRUE(r.cache.move(hold, 0, 1, 1, KvCache::When::kLater));
    EXPECT_EQ(hold.pages[0][1].tier, 0) << "moved before the copy was made";
    if (ends) {
      r.cache.release(hold);
    } else {
      hold.tokens = kPageTokens + 3;  // rewritten from here on
      r.cache.reserve(hold, kPageTokens + 4);
      r.mover.made = r.mover.marks;
      r.cache.reserve(hold, kPageTokens + 4);
      EXPECT_EQ(hold.pages[0][1].tier, 0) << "moved although called off";
    }
    EXPECT_EQ(r.mover.holds, 1);
  }
}

}  // namespace
}  // namespace dak
