#include "plan/greedy.h"

#include <algorithm>
#include <cmath>
#include <span>

#include "base/error.h"
#include "base/math.h"
#include "plan/item_kinds.h"

namespace dak {
namespace {

// Slopes that differ by less are one: they come from the same numbers in another order.
constexpr double kSameSlope = 1e-9;
// A difference of two costs that is no more of them is rounding.
constexpr double kNoise = 1e-13;

// A run of blocks of one kind of item whose marginal costs are equal: the piece [first, first +
// blocks) of each of its members.
struct Segment {
  size_t kind = 0;
  int64_t first = 0;
  int64_t blocks = 0;           // of each member
  double seconds_per_byte = 0;  // offloading one more, by the item's cost
};

// The objective of one item with `offloaded` blocks in tier 1, which stands for every remote tier.
double cost_at(const PlacedItem& item, int64_t offloaded) {
  TierBytes bytes{};
  bytes[0] = (item.blocks - offloaded) * item.block_bytes;
  bytes[1] = offloaded * item.block_bytes;
  double cost = 0;
  for (const PlacedItem::Term& term : item.terms) {
    cost += term.weight * time_of(term.cost, bytes).seconds;
  }
  return cost;
}

// Where an item's cost may bend: offloaded bytes at which two lines of one maximum meet.
std::vector<int64_t> bends(const PlacedItem& item) {
  std::vector<int64_t> blocks{0, item.blocks};
  const auto size = static_cast<double>(item.size_bytes());
  for (const PlacedItem::Term& term : item.terms) {
    const std::vector<CostLine>& lines = term.cost.lines;
    for (size_t i = 0; i < lines.size(); ++i) {
      for (size_t j = i + 1; j < lines.size(); ++j) {
        const auto at_zero = [&](const CostLine& line) {
          return line.fixed_s + line.per_byte[0] * size;
        };
        const auto slope = [](const CostLine& line) { return line.per_byte[1] - line.per_byte[0]; };
        const double bytes =
            (at_zero(lines[i]) - at_zero(lines[j])) / (slope(lines[j]) - slope(lines[i]));
        if (!(bytes > 0 && bytes < size)) continue;  // never meet, or elsewhere
        const auto block = static_cast<int64_t>(bytes / static_cast<double>(item.block_bytes));
        blocks.push_back(block);
        blocks.push_back(std::min(block + 1, item.blocks));
      }
    }
  }
  std::ranges::sort(blocks);
  blocks.erase(std::unique(blocks.begin(), blocks.end()), blocks.end());
  return blocks;
}

std::vector<Segment> segments_of(const PlacedItem& item, size_t kind) {
  std::vector<Segment> segments;
  const std::vector<int64_t> at = bends(item);
  double cost = cost_at(item, 0);
  for (size_t i = 1; i < at.size(); ++i) {
    const int64_t count = at[i] - at[i - 1];
    double next = cost_at(item, at[i]);
    if (std::abs(next - cost) <= kNoise * cost) next = cost;
    segments.push_back(
        {.kind = kind,
         .first = at[i - 1],
         .blocks = count,
         .seconds_per_byte = (next - cost) / static_cast<double>(count * item.block_bytes)});
    cost = next;
  }
  // Convex but for rounding, which must not let a later block go before an earlier one.
  for (size_t i = 1; i < segments.size(); ++i) {
    segments[i].seconds_per_byte =
        std::max(segments[i].seconds_per_byte, segments[i - 1].seconds_per_byte);
  }
  return segments;
}

// Fills the remote tiers in order; what does not fit is missing.
class RemotePool {
 public:
  explicit RemotePool(const std::vector<int64_t>& capacity) : free_(capacity) {}

  void place(const PlacedItem& item, int64_t offloaded, TierBlocks& blocks) {
    for (size_t t = 1; t < free_.size() && offloaded > 0; ++t) {
      const int64_t fits = std::min(offloaded, std::max<int64_t>(0, free_[t]) / item.block_bytes);
      blocks[t] += fits;
      free_[t] -= fits * item.block_bytes;
      offloaded -= fits;
    }
    blocks[0] += offloaded;
    missing_bytes_ += offloaded * item.block_bytes;
  }
  int64_t missing_bytes() const { return missing_bytes_; }

 private:
  std::vector<int64_t> free_;
  int64_t missing_bytes_ = 0;
};

class Greedy {
 public:
  explicit Greedy(const PlacementProblem& problem)
      : problem_(problem), kinds_(kinds_of(problem.items)), taken_(problem.items.size()) {}

  Placement place() {
    int64_t need = 0;
    int64_t room = 0;
    for (const PlacedItem& item : problem_.items) need += item.size_bytes();
    need -= problem_.capacity_bytes[0];
    for (size_t t = 1; t < problem_.capacity_bytes.size(); ++t) {
      room += problem_.capacity_bytes[t];
    }
    if (problem_.offload_bytes) need = *problem_.offload_bytes;
    take(need, room);
    Placement placement;
    RemotePool pool(problem_.capacity_bytes);
    for (size_t i = 0; i < problem_.items.size(); ++i) {
      const PlacedItem& item = problem_.items[i];
      TierBlocks blocks{};
      blocks[0] = item.blocks - taken_[i];
      pool.place(item, taken_[i], blocks);
      placement.blocks.push_back(blocks);
    }
    placement.missing_bytes = pool.missing_bytes();
    return placement;
  }

 private:
  // Segments in the order of their cost, those of equal cost together, while they are needed or
  // gain.
  void take(int64_t need, int64_t room) {
    std::vector<Segment> segments;
    for (size_t k = 0; k < kinds_.size(); ++k) {
      const auto own = segments_of(problem_.items[kinds_[k].members.front()], k);
      segments.insert(segments.end(), own.begin(), own.end());
    }
    std::ranges::stable_sort(segments, {}, &Segment::seconds_per_byte);
    for (size_t begin = 0; begin < segments.size();) {
      const double slope = segments[begin].seconds_per_byte;
      size_t end = begin + 1;
      while (end < segments.size() &&
             segments[end].seconds_per_byte <= slope + kSameSlope * std::abs(slope)) {
        ++end;
      }
      const bool gains = slope < 0 && !problem_.offload_bytes;
      if (!gains && need <= 0) return;
      const std::span<const Segment> tied(segments.data() + begin, end - begin);
      int64_t bytes = 0;
      for (const Segment& segment : tied) bytes += bytes_of_segment(segment);
      // What gains goes as far as there is room, what is needed goes in any case: that there is no
      // room for it is the caller's error to report.
      int64_t wanted = gains ? std::max(need, std::min(bytes, room)) : need;
      wanted = std::min(wanted, bytes);
      if (wanted > 0) {
        const int64_t done = take_share(tied, wanted, bytes, /*up=*/wanted <= need);
        need -= done;
        room -= done;
      }
      begin = end;
    }
  }

  int64_t bytes_of_segment(const Segment& segment) const {
    const ItemKind& kind = kinds_[segment.kind];
    return segment.blocks * problem_.items[kind.members.front()].block_bytes *
           static_cast<int64_t>(kind.members.size());
  }

  // `wanted` of the segments' `total` bytes, the same share of each and of each of its members;
  // rounding errors are carried from one to the next. `up`: at least `wanted`, else at most.
  int64_t take_share(std::span<const Segment> tied, int64_t wanted, int64_t total, bool up) {
    int64_t done = 0;
    int64_t passed = 0;  // bytes of the segments looked at so far
    for (const Segment& segment : tied) {
      const ItemKind& kind = kinds_[segment.kind];
      for (const size_t member : kind.members) {
        const int64_t block_bytes = problem_.items[member].block_bytes;
        passed += segment.blocks * block_bytes;
        const double goal =
            static_cast<double>(wanted) * static_cast<double>(passed) / static_cast<double>(total);
        double exact = (goal - static_cast<double>(done)) / static_cast<double>(block_bytes);
        exact = passed == total ? exact_blocks(wanted - done, block_bytes, up)
                                : (up ? std::ceil(exact - 1e-9) : std::floor(exact + 1e-9));
        const auto count = std::clamp<int64_t>(static_cast<int64_t>(exact), 0, segment.blocks);
        taken_[member] += count;
        done += count * block_bytes;
      }
    }
    return done;
  }

  static double exact_blocks(int64_t bytes, int64_t block_bytes, bool up) {
    return static_cast<double>(up ? ceil_div(bytes, block_bytes) : bytes / block_bytes);
  }

  const PlacementProblem& problem_;
  std::vector<ItemKind> kinds_;
  std::vector<int64_t> taken_;  // blocks of each item that leave
};

}  // namespace

double cost_of_placement(const PlacementProblem& problem, const std::vector<TierBlocks>& blocks) {
  double cost = 0;
  for (size_t i = 0; i < problem.items.size(); ++i) {
    const PlacedItem& item = problem.items[i];
    TierBytes bytes{};
    for (size_t t = 0; t < bytes.size(); ++t) bytes[t] = blocks[i][t] * item.block_bytes;
    for (const PlacedItem::Term& term : item.terms) {
      cost += term.weight * time_of(term.cost, bytes).seconds;
    }
  }
  return cost;
}

bool has_one_link(const PlacementProblem& problem) {
  for (const PlacedItem& item : problem.items) {
    for (const PlacedItem::Term& term : item.terms) {
      for (const CostLine& line : term.cost.lines) {
        for (size_t t = 2; t < problem.capacity_bytes.size(); ++t) {
          if (line.per_byte[t] != line.per_byte[1]) return false;
        }
      }
    }
  }
  return true;
}

Placement place_greedily(const PlacementProblem& problem) {
  require(has_one_link(problem), "the greedy algorithm places over one link");
  return Greedy(problem).place();
}

}  // namespace dak
