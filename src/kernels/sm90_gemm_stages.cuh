// Tiles of a GEMM: what lies where in shared memory, which tile comes next, and the thread that
// fills the ring of stages.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/ptx/bulk_copy.cuh"
#include "kernels/ptx/cluster.cuh"
#include "kernels/ptx/sync.cuh"
#include "kernels/ring.cuh"
#include "kernels/sm90_gemm.h"
#include "kernels/sm90_gemm_feed.cuh"
#include "memory/weight_layout.h"

namespace dak {

// A thread block's tile: two row blocks (128 outputs) by kTokens tokens, a warpgroup a row block.
template <int kTokenTile>
struct GemmShape {
  static constexpr int kTokens = kTokenTile;
  static constexpr int kRowBlocks = 2;
  static constexpr int kValues = kTokens / 2;  // of a [64, kTokens] tile in each of 128 threads
  static constexpr int kThreads = 3 * 128;     // producers, and a warpgroup for each row block
  static constexpr uint32_t kChunkBytes = dak::kChunkBytes;
  static constexpr uint32_t kWeightBytes = kRowBlocks * kChunkBytes;
  static constexpr uint32_t kXBytes = kTokens * 128;
  static constexpr uint32_t kStageBytes = kWeightBytes + kXBytes;
  static constexpr int kStages = kTokens == 256 ? 4 : 6;
  // Epilogue: 32 tokens of a warp's 16 rows at a time, rows 20 words apart (no bank conflicts).
  static constexpr int kSliceTokens = 32;
  static constexpr int kSliceStride = 20;
  static constexpr uint32_t kSliceBytes = kSliceTokens * kSliceStride * 4;
  static constexpr uint32_t kScratchBytes = kRowBlocks * 4 * kSliceBytes;
  static constexpr uint32_t kControlBytes = 1024;
  static constexpr uint32_t kAlignBytes = 1024;  // the swizzle pattern repeats every 1024 bytes
  static constexpr uint32_t kSharedBytes =
      kStages * kStageBytes + kChunkBytes + kScratchBytes + kControlBytes + kAlignBytes;
  static_assert(kSharedBytes <= 227 * 1024);
};

template <typename Shape>
struct GemmControl {
  ptx::Barrier full[Shape::kStages];
  ptx::Barrier empty[Shape::kStages];
  ptx::Barrier copied;  // the reader's chunk
  volatile uint32_t
      filled;  // all stages are on their way: readers delay no multiplying warp from here on
  uint32_t is_last;
};

template <typename Shape>
struct GemmShared {
  std::byte* stages;   // 1024-byte aligned, at the same place in every thread block
  std::byte* chunk;    // the reader's
  std::byte* scratch;  // the epilogue's
  GemmControl<Shape>* control;

  __device__ explicit GemmShared(std::byte* raw) {
    stages = raw + (1024 - ptx::shared_address(raw) % 1024) % 1024;
    chunk = stages + Shape::kStages * Shape::kStageBytes;
    scratch = chunk + Shape::kChunkBytes;
    control = reinterpret_cast<GemmControl<Shape>*>(scratch + Shape::kScratchBytes);
    static_assert(sizeof(GemmControl<Shape>) <= Shape::kControlBytes);
  }
  __device__ std::byte* weights(uint32_t stage) const {
    return stages + stage * Shape::kStageBytes;
  }
  __device__ std::byte* x(uint32_t stage) const { return weights(stage) + Shape::kWeightBytes; }
};

// This thread block's place in its cluster and the cluster's in the grid.
struct GemmRank {
  uint32_t weight;  // which pair of the group's row blocks
  uint32_t token;   // which of the token tiles
  int32_t cluster;
  int32_t clusters;

  __device__ explicit GemmRank(const GemmParams& params) {
    const uint32_t rank = ptx::cluster_rank();
    const auto size = static_cast<uint32_t>(params.weight_ranks * params.token_ranks);
    weight = rank % static_cast<uint32_t>(params.weight_ranks);
    token = rank / static_cast<uint32_t>(params.weight_ranks);
    cluster = static_cast<int32_t>(blockIdx.x / size);
    clusters = static_cast<int32_t>(gridDim.x / size);
  }
  // Thread blocks that write to this one's stages, and whose stages this one writes to.
  __device__ static uint32_t peers(const GemmParams& params) {
    return static_cast<uint32_t>(params.weight_ranks + params.token_ranks - 1);
  }
  __device__ uint32_t peer(const GemmParams& params, uint32_t i) const {
    const auto row = static_cast<uint32_t>(params.weight_ranks);
    if (i < row) return token * row + i;
    const uint32_t other = i - row;  // the column, without this thread block's own place
    return (other < token ? other : other + 1) * row + weight;
  }
  __device__ uint16_t x_ranks(const GemmParams& params) const {
    const auto row = static_cast<uint32_t>(params.weight_ranks);
    return static_cast<uint16_t>(((1u << row) - 1) << (token * row));
  }
  __device__ uint16_t weight_ranks(const GemmParams& params) const {
    uint32_t ranks = 0;
    for (int i = 0; i < params.token_ranks; ++i) {
      ranks |= 1u << (static_cast<uint32_t>(i * params.weight_ranks) + weight);
    }
    return static_cast<uint16_t>(ranks);
  }
};

// Tiles of a cluster: every `clusters`-th, tokens innermost, so that clusters that run at the same
// time share row blocks. What would be a last round of few tiles is a round of halves.
struct GemmTile {
  int32_t place;  // among whole tiles and halves
  int32_t end;
  int32_t step;
  int32_t index;  // of the whole tile
  bool is_half;
  int32_t half;  // 0 or 1

  __device__ GemmTile(const GemmParams& params, const GemmRank& rank)
      : place(rank.cluster),
        end(2 * params.groups * params.token_groups - params.whole_tiles),
        step(rank.clusters) {
    find(params);
  }
  __device__ bool valid() const { return place < end; }
  __device__ void advance(const GemmParams& params) {
    place += step;
    find(params);
  }
  // Of kTokens tokens a tile.
  __device__ int32_t first_token(const GemmParams& params, const GemmRank& rank,
                                 int32_t tokens) const {
    const int32_t tile =
        index % params.token_groups * params.token_ranks + static_cast<int32_t>(rank.token);
    return tile * tokens + half * (tokens / 2);
  }
  __device__ const GemmBlock* blocks(const GemmParams& params, const GemmRank& rank) const {
    const int32_t group = group_at(params.order, index / params.token_groups);
    return params.feed.blocks +
           (group * params.weight_ranks + static_cast<int32_t>(rank.weight)) * 2;
  }

 private:
  __device__ void find(const GemmParams& params) {
    const int32_t beyond = place - params.whole_tiles;
    is_half = beyond >= 0;
    index = is_half ? params.whole_tiles + beyond / 2 : place;
    half = is_half ? beyond % 2 : 0;
  }
};

// Until segment `segment` of those of a pair of row blocks that are remote is in the ring. One
// fence for both: it takes about as long as a stage.
__device__ inline void wait_ready(const GemmParams& params, const int32_t (&blocks)[2],
                                  int32_t segment) {
  if (blocks[0] < 0 && blocks[1] < 0) return;
  const auto chunks =
      static_cast<uint32_t>(min(kSegmentChunks, params.feed.chunks - segment * kSegmentChunks));
#pragma unroll
  for (const int32_t block : blocks) {
    if (block < 0) continue;
    const uint32_t* word = gemm_ready(params.feed, block) + segment;
    while (ptx::load_acquire(word) < chunks) ptx::sleep_ns(100);
  }
  ptx::fence_proxy_async_all();
}

// One thread: fills stages with this thread block's share of x tiles and weights, for itself and
// its peers, and counts what it reads of remote tiers in place.
template <typename Shape>
__device__ void fill_gemm_stages(const GemmParams& params, const GemmRank& rank,
                                 const GemmShared<Shape>& shared) {
  const uint16_t x_ranks = rank.x_ranks(params);
  const uint16_t weight_ranks = rank.weight_ranks(params);

  const uint32_t part = Shape::kChunkBytes / static_cast<uint32_t>(params.token_ranks);
  const uint64_t policy = ptx::policy_evict_normal();
  RingPosition<Shape::kStages> at;
  for (GemmTile tile(params, rank); tile.valid(); tile.advance(params)) {
    const auto x_rows = static_cast<uint32_t>((tile.is_half ? Shape::kTokens / 2 : Shape::kTokens) /
                                              params.weight_ranks);
    const CUtensorMap* x_map = tile.is_half ? &params.x_half_map : &params.x_map;
    const int32_t token =
        tile.first_token(params, rank, Shape::kTokens) + static_cast<int32_t>(rank.weight * x_rows);

    const GemmBlock* blocks = tile.blocks(params, rank);
    const std::byte* source[2];
    int32_t in_ring[2];
    uint32_t bytes = tile.is_half ? Shape::kXBytes / 2 : Shape::kXBytes;

#pragma unroll
    for (int row = 0; row < 2; ++row) {
      const GemmBlock block = blocks[row];
      in_ring[row] = params.feed.ring != nullptr ? block.remote : -1;
      source[row] = in_ring[row] >= 0 ? gemm_slot(params.feed, block.remote) : block.data;
      if (source[row] == nullptr) continue;
      source[row] += rank.token * part;
      bytes += Shape::kChunkBytes;
    }
    for (int32_t chunk = 0; chunk < params.feed.chunks; ++chunk) {
      if (chunk % kSegmentChunks == 0) {
        wait_ready(params, in_ring, chunk / kSegmentChunks);
      }
      ptx::mbarrier_wait(&shared.control->empty[at.stage], at.phase ^ 1);
      ptx::Barrier* full = &shared.control->full[at.stage];
      ptx::mbarrier_arrive_expect_tx(full, bytes);
      std::byte* x = shared.x(at.stage) + rank.weight * x_rows * 128;
      if (params.weight_ranks > 1) {
        ptx::tensor_copy_2d_multicast(x, x_map, chunk * 64, token, full, x_ranks);
      } else {
        ptx::tensor_copy_2d(x, x_map, chunk * 64, token, full, policy);
      }
#pragma unroll
      for (int row = 0; row < 2; ++row) {
        if (source[row] == nullptr) continue;
        std::byte* target = shared.weights(at.stage) +
                            static_cast<uint32_t>(row) * Shape::kChunkBytes + rank.token * part;
        const std::byte* from = source[row] + static_cast<int64_t>(chunk) * Shape::kChunkBytes;
        if (params.token_ranks > 1) {
          ptx::bulk_copy_multicast(target, from, part, full, weight_ranks);
        } else {
          ptx::bulk_copy(target, from, part, full, policy);
        }
      }
      at.advance();
    }
    if (params.feed.ring != nullptr) continue;
    for (int row = 0; row < 2; ++row) {
      if (blocks[row].tier == 0) continue;
      atomicAdd(&params.links[blocks[row].tier].read_bytes,
                static_cast<unsigned long long>(params.feed.chunks) * part);
    }
  }
}

}  // namespace dak
