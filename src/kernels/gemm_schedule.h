// In what order a GEMM of many rows takes the row blocks of a weight. Host code without CUDA; the
// kernel only follows it.
//
//   group   kGroupBlocks row blocks that one cluster of thread blocks multiplies with one token
//           tile. Remote row blocks form the first groups of the list, local ones the rest; the
//           last remote group is filled up with local ones.
//   fetch   a segment of a remote row block, in the order in which the readers of its tier copy
//           them to the ring: group by group, the row blocks of a group side by side.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "memory/tier.h"
#include "memory/tiered_tensor.h"

namespace dak {

inline constexpr int kGroupBlocks = 4;
// Chunks (of 64 columns) of a row block that become readable together: 128 KiB.
inline constexpr int kSegmentChunks = 16;

// Bytes of a ring of row blocks: enough for those being multiplied and as many more on their way.
// Twice this is what a workspace takes, unless a weight has row blocks of more than an eighth.
inline constexpr int64_t kGemmRingBytes = int64_t{32} << 20;
// Where GEMMs fetch ahead (recorded steps of many rows), it holds more of the weight that comes:
// 512 sequences of OPT-30B with 18 % remote 39.8 -> 38.8 ms a step of four layers, and no better
// with twice as much.
inline constexpr int64_t kGemmAheadRingBytes = int64_t{64} << 20;
inline constexpr int64_t kGemmLeastSlots = 2 * kGroupBlocks;

struct alignas(16) GemmBlock {
  const std::byte* data;  // [64, padded cols], weight_layout.h; null: there is no such row block
  int32_t index;          // row block number in the weight
  int32_t remote;         // its number among the remote ones, in order of the list; -1: local
  int32_t tier;
};
static_assert(sizeof(GemmBlock) == 32);

struct GemmFetch {
  int32_t block;    // in the list; remote blocks come first, so also its number among them
  int32_t segment;  // along K
};

struct GemmSchedule {
  std::vector<GemmBlock> blocks;   // a multiple of kGroupBlocks
  std::vector<GemmFetch> fetches;  // tier by tier
  // Fetches [fetch_begin[t], fetch_end[t]) are of tier t.
  std::array<int, kMaxTiers> fetch_begin{};
  std::array<int, kMaxTiers> fetch_end{};
  int chunks = 0;         // of 64 columns along K
  int segments = 0;       // along K; the last may have fewer chunks
  int remote_blocks = 0;  // row blocks
  int remote_groups = 0;
  TierTraffic traffic;  // bytes if each row block is read once
};

// Throws kInvalidArgument when the number of blocks contradicts the shape, a block has no address,
// or the weight is not 16-bit.
GemmSchedule make_gemm_schedule(const TieredTensor& weight);

// Of fetches in a tier's order, how many come before the first that needs another row block's slot.
int early_fetches(std::span<const GemmFetch> fetches, int slots);

// Where the remote groups come among all.
enum class GemmOrder : uint8_t {
  kSpread,  // evenly, behind as many local groups as are computed at a time
  kFirst,
  kLast,
};

// The kernel takes groups `lead` local ones first, then in the next `span` the remote ones evenly
// among local ones, then the rest.
struct GemmOrdering {
  int32_t lead;
  int32_t span;
  int32_t remote;  // groups
};

// `at_once`: groups that are computed at a time.
GemmOrdering order_groups(int groups, int remote_groups, int at_once, GemmOrder order);

// The place in the list of the group that comes at `position`. On the device too.
constexpr int32_t group_at(const GemmOrdering& order, int32_t position) {
  const int32_t place = position - order.lead;
  if (place < 0) return order.remote + position;
  if (place >= order.span) return position;  // all remote groups are behind
  const auto before = static_cast<int64_t>(place) * order.remote / order.span;
  const auto through = static_cast<int64_t>(place + 1) * order.remote / order.span;
  return static_cast<int32_t>(through > before ? before : order.remote + position - before);
}

}  // namespace dak
