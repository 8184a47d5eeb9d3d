#include "plan/workload.h"

#include <algorithm>
#include <cctype>
#include <charconv>
#include <cmath>

#include "base/choice.h"
#include "base/error.h"
#include "base/numbers.h"

namespace dak {
namespace {

constexpr int64_t kMostBatch = 65536;
constexpr int64_t kMostTokens = int64_t{1} << 30;
constexpr int64_t kMostGroups = 64;  // of chunks of a prompt
constexpr double kMostShare = 1e9;
constexpr std::string_view kExample = "e.g. decode:batch=32,context=8k*0.8 + prefill:2k*0.2";

class Parser {
 public:
  Parser(std::string_view text, std::string_view where) : text_(text), where_(where) {}

  Workload parse() {
    Workload workload;
    double total = 0;
    do {
      workload.push_back(entry());
      total += workload.back().share;
    } while (take('+'));
    if (at_ < text_.size()) fail(at_, "is not expected here: an entry is over");
    for (WorkloadEntry& entry : workload) entry.share /= total;
    return workload;
  }

 private:
  [[noreturn]] void fail(size_t at, std::string_view problem) const {
    throw_invalid(where_, fmt::format("character {}", at + 1),
                  at < text_.size() ? text_.substr(at, 24) : std::string_view("the end"), problem,
                  kExample);
  }

  void skip_spaces() {
    while (at_ < text_.size() && text_[at_] == ' ') ++at_;
  }

  bool take(char wanted) {
    skip_spaces();
    if (at_ >= text_.size() || text_[at_] != wanted) return false;
    ++at_;
    skip_spaces();
    return true;
  }

  std::string_view word() {
    skip_spaces();
    const size_t begin = at_;
    while (at_ < text_.size() && text_[at_] >= 'a' && text_[at_] <= 'z') ++at_;
    return text_.substr(begin, at_ - begin);
  }

  WorkloadEntry entry() {
    skip_spaces();
    const size_t begin = at_;
    const std::string_view phase = word();
    WorkloadEntry entry;
    if (phase == name(Phase::kPrefill)) {
      entry.phase = Phase::kPrefill;
    } else if (phase != name(Phase::kDecode)) {
      fail(begin, fmt::format("is not a phase: {}decode or prefill",
                              did_you_mean(phase, {"decode", "prefill"})));
    }
    settings_given_ = {};
    if (take(':')) {
      do {
        setting(entry);
      } while (take(','));
    }
    if (entry.phase == Phase::kPrefill && entry.tokens == 0) {
      fail(at_, "comes where prefill needs its number of tokens");
    }
    if (take('*')) entry.share = share();
    return entry;
  }

  void setting(WorkloadEntry& entry) {
    skip_spaces();
    const size_t begin = at_;
    const std::string_view key = word();
    if (!key.empty() && !take('=')) fail(at_, "comes where = and a count belong");
    const bool decode = entry.phase == Phase::kDecode;
    const auto once = [&](std::string_view canonical) {
      if (std::ranges::find(settings_given_, canonical) != settings_given_.end()) {
        fail(begin, "is given twice");
      }
      settings_given_.push_back(canonical);
    };
    if (decode && key == "batch") {
      once("batch");
      entry.batch = count(kMostBatch);
    } else if (decode && key == "context") {
      once("context");
      entry.context = count(kMostTokens);
    } else if (!decode && (key == "tokens" || key.empty())) {
      once("tokens");
      entry.tokens = count(kMostTokens);
    } else if (!decode && key == "chunk") {
      once("chunk");
      entry.chunk = count(kMostTokens);
    } else {
      fail(begin, decode
                      ? "is not a setting of decode: " + did_you_mean(key, {"batch", "context"}) +
                            "batch=N or context=N"
                      : "is not a setting of prefill: " + did_you_mean(key, {"tokens", "chunk"}) +
                            "a number of tokens or chunk=N");
    }
  }

  int64_t count(int64_t most) {
    skip_spaces();
    const size_t begin = at_;
    while (at_ < text_.size() &&
           (std::isalnum(static_cast<unsigned char>(text_[at_])) != 0 || text_[at_] == '.')) {
      ++at_;
    }
    int64_t value = 0;
    const std::string_view problem = read_tokens(text_.substr(begin, at_ - begin), value);
    if (problem == kTooLarge || value > most) fail(begin, fmt::format("is more than {}", most));
    if (!problem.empty() || value < 1) fail(begin, "is not a count from 1 on");
    return value;
  }

  double share() {
    skip_spaces();
    const size_t begin = at_;
    double value = 0;
    const char* end = text_.data() + text_.size();
    const auto [stop, status] = std::from_chars(text_.data() + begin, end, value);
    if (status != std::errc() || !(value > 0) || value > kMostShare) {
      fail(begin, "is not a share: a positive number");
    }
    at_ = static_cast<size_t>(stop - text_.data());
    return value;
  }

  std::string_view text_;
  std::string_view where_;
  size_t at_ = 0;
  std::vector<std::string_view> settings_given_;
};

std::string count_text(int64_t count) {
  return count % 1024 == 0 ? fmt::format("{}k", count / 1024) : std::to_string(count);
}

}  // namespace

std::string_view name(Phase phase) { return phase == Phase::kDecode ? "decode" : "prefill"; }

std::string WorkloadEntry::text() const {
  if (phase == Phase::kDecode) {
    return fmt::format("decode:batch={},context={}", batch, count_text(context));
  }
  return fmt::format("prefill:{}{}", count_text(tokens),
                     chunk ? ",chunk=" + count_text(*chunk) : std::string());
}

Workload parse_workload(std::string_view text, std::string_view where) {
  return Parser(text, where).parse();
}

std::string workload_text(const Workload& workload) {
  std::string text;
  for (const WorkloadEntry& entry : workload) {
    text += (text.empty() ? "" : " + ") + entry.text();
    if (workload.size() > 1) text += fmt::format("*{:.4g}", entry.share);
  }
  return text;
}

int64_t most_tokens(const Workload& workload) {
  int64_t most = 0;
  for (const WorkloadEntry& entry : workload) most = std::max(most, entry.tokens_in_cache());
  return most;
}

int64_t most_sequences(const Workload& workload) {
  int64_t most = 1;
  for (const WorkloadEntry& entry : workload) {
    if (entry.phase == Phase::kDecode) most = std::max(most, entry.batch);
  }
  return most;
}

std::vector<CountedPass> passes_of(const WorkloadEntry& entry, int64_t default_chunk) {
  if (entry.phase == Phase::kDecode) {
    return {{.pass = {.rows = entry.batch,
                      .sequences = entry.batch,
                      .past = entry.context - 1,
                      .logit_rows = entry.batch}}};
  }
  const int64_t chunk = entry.chunk.value_or(default_chunk);
  const int64_t whole = (entry.tokens - 1) / chunk;  // the last chunk, which may be short, aside
  const int64_t groups = std::min(whole, kMostGroups);
  std::vector<CountedPass> passes;
  for (int64_t g = 0; g < groups; ++g) {
    const int64_t begin = whole * g / groups;
    const int64_t end = whole * (g + 1) / groups;
    passes.push_back({.pass = {.rows = chunk,
                               .sequences = 1,
                               .past = chunk * (begin + end - 1) / 2,
                               .logit_rows = 0},
                      .count = static_cast<double>(end - begin)});
  }
  passes.push_back(
      {.pass = {.rows = entry.tokens - whole * chunk, .sequences = 1, .past = whole * chunk}});
  return passes;
}

}  // namespace dak
