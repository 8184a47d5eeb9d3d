// GEMM of many rows on Hopper: out[m, n] = epilogue(x[m, k] w[n, k]^T), m > 64, where w's row
// blocks lie in several tiers and each remote byte crosses its link once.
//
// A persistent thread block multiplies tiles of 128 outputs x 128 or 256 tokens, and where the last
// round would have few tiles of 256, halves of them. Its warps:
//   warpgroup 0   warp 0 fills a ring of stages (64 of K: weights by bulk copy as they lie, x by
//                 tensor copy), warp 1 copies remote row blocks to the ring in device memory, this
//                 GEMM's and then those of the GEMMs behind it
//   1 and 2       multiply a row block each, wgmma m64n256k16 (or n128), and store
// A cluster of two works on 256 outputs x one token tile; each thread block fetches half of x for
// both (multicast), so that L2 delivers 32 KiB for 64 of K instead of 48. (Other shapes of
// clusters are for comparison: weights shared by up to 16 token tiles, straight from host memory.)
//
// An output is one sum in the order of K, whatever the tile, the number of tokens, the tier or the
// cluster: its bits depend on the shape of the weight alone.
//
// Everything but the readers waits for the kernel ahead; only then may the next kernel start, so at
// most two of these run at a time, and halves of a workspace in turn keep them apart.
#pragma once

#include "kernels/ptx/wgmma_wide.cuh"
#include "kernels/sm90_gemm_epilogue.cuh"
#include "kernels/sm90_gemm_ring.cuh"
#include "kernels/sm90_gemm_stages.cuh"

namespace dak {

// Begins sums (+)= weights[64, 64] x[kTokens, 64]^T; layouts as in sm90_split_consume.cuh.
template <typename T, int kTokens>
__device__ void multiply_gemm_stage(float (&sums)[kTokens / 2], const std::byte* weights,
                                    const std::byte* x, int accumulate) {
  const uint64_t a = ptx::matrix_descriptor(weights, 128, 1024, ptx::Swizzle::kNone);
  const uint64_t b = ptx::matrix_descriptor(x, 16, 1024, ptx::Swizzle::k128);
  ptx::wgmma_fence();
#pragma unroll
  for (int step = 0; step < 4; ++step) {
    ptx::Wgmma<T, kTokens>::multiply(sums, a + step * 16, b + step * 2, step > 0 ? 1 : accumulate);
  }
  ptx::wgmma_commit();
}

// Who of a warpgroup tells which peer that a stage is free.
struct GemmRelease {
  bool mine;
  uint32_t peer;
};

// All of K of one tile of kTokens tokens, or of half a tile of the shape.
template <typename T, int kTokens, typename Shape>
__device__ void sum_gemm_tile(float (&sums)[kTokens / 2], const GemmParams& params,
                              const GemmShared<Shape>& shared, RingPosition<Shape::kStages>& at,
                              const GemmRelease& release, int row) {
  GemmControl<Shape>& control = *shared.control;
  uint32_t previous = 0;  // stage whose products may still be in flight
  for (int32_t chunk = 0; chunk < params.feed.chunks; ++chunk) {
    ptx::mbarrier_wait(&control.full[at.stage], at.phase);
    multiply_gemm_stage<T, kTokens>(
        sums, shared.weights(at.stage) + static_cast<uint32_t>(row) * Shape::kChunkBytes,
        shared.x(at.stage), chunk > 0 ? 1 : 0);
    ptx::wgmma_wait<1>();
    if (chunk > 0 && release.mine) {
      ptx::mbarrier_arrive_at(&control.empty[previous], release.peer);
    }
    previous = at.stage;
    at.advance();
  }
  ptx::wgmma_wait<0>();
  if (release.mine) ptx::mbarrier_arrive_at(&control.empty[previous], release.peer);
#pragma unroll
  for (float& sum : sums) ptx::wgmma_pin(sum);
}

// The warpgroup of row block `row`.
template <typename T, typename Shape>
__device__ void consume_gemm_tiles(const GemmParams& params, const GemmRank& rank,
                                   const GemmShared<Shape>& shared, int row, int thread) {
  const bool mine = static_cast<uint32_t>(thread) < GemmRank::peers(params);
  const GemmRelease release{mine, mine ? rank.peer(params, static_cast<uint32_t>(thread)) : 0};
  float* scratch = reinterpret_cast<float*>(
      shared.scratch + static_cast<uint32_t>(row * 4 + thread / 32) * Shape::kSliceBytes);
  constexpr int kSlices = Shape::kTokens / Shape::kSliceTokens;
  float sums[Shape::kValues];
  RingPosition<Shape::kStages> at;
  for (GemmTile tile(params, rank); tile.valid(); tile.advance(params)) {
    const GemmBlock block = tile.blocks(params, rank)[row];
    if (tile.is_half) {
      if constexpr (Shape::kTokens == 256) {
        auto& half = reinterpret_cast<float(&)[Shape::kValues / 2]>(sums);
        sum_gemm_tile<T, Shape::kTokens / 2, Shape>(half, params, shared, at, release, row);
      }
    } else {
      sum_gemm_tile<T, Shape::kTokens, Shape>(sums, params, shared, at, release, row);
    }
    if (params.feed.ring != nullptr && block.remote >= 0 && thread == 0) {
      ptx::add_release(gemm_released(params.feed, block.remote), tile.is_half ? 1 : 2);
    }
    if (block.index < 0) continue;
    store_gemm_tile<Shape>(params.epilogue, sums, tile.is_half ? kSlices / 2 : kSlices, block.index,
                           tile.first_token(params, rank, Shape::kTokens), scratch, thread / 32,
                           thread % 32);
  }
}

// The last thread block of the grid leaves the counters as it found them.
template <typename Shape>
__device__ void clear_counters(const GemmParams& params, GemmControl<Shape>& control) {
  if (params.feed.ring == nullptr || params.feed.remote_blocks == 0) return;
  if (threadIdx.x == 0) {
    __threadfence();
    control.is_last = atomicAdd(&params.feed.counters->done, 1u) + 1 == gridDim.x ? 1 : 0;
    __threadfence();
  }
  __syncthreads();
  if (control.is_last == 0) return;
  auto* words = reinterpret_cast<uint32_t*>(params.feed.counters);
  const int64_t count =
      static_cast<int64_t>(sizeof(GemmCounters) / 4) +
      static_cast<int64_t>(params.feed.remote_blocks) * (params.feed.segments + 1);
  for (int64_t i = threadIdx.x; i < count; i += Shape::kThreads) words[i] = 0;
}

template <typename T, int kTokens>
__global__ __launch_bounds__(GemmShape<kTokens>::kThreads,
                             1) void sm90_gemm(const __grid_constant__ GemmParams params) {
  using Shape = GemmShape<kTokens>;
  extern __shared__ std::byte raw[];
  const GemmShared<Shape> shared(raw);
  const GemmRank rank(params);
  // Through a shuffle, so that the compiler knows it to be the same in all lanes.
  const int warp = __shfl_sync(0xffffffff, static_cast<int>(threadIdx.x) / 32, 0);
  if (threadIdx.x == 0) {
    for (int stage = 0; stage < Shape::kStages; ++stage) {
      ptx::mbarrier_init(&shared.control->full[stage], 1);
      ptx::mbarrier_init(&shared.control->empty[stage],
                         Shape::kRowBlocks * GemmRank::peers(params));
    }
    ptx::mbarrier_init(&shared.control->copied, 1);
    shared.control->filled = 0;
    ptx::fence_barrier_init();
  }
  ptx::cluster_arrive();
  ptx::cluster_wait();

  if (warp < 4) {
    ptx::release_registers<40>();
    if (warp == 0 && threadIdx.x == 0) {
      ptx::grid_dependency_wait();
      ptx::launch_dependents();
      fill_gemm_stages<Shape>(params, rank, shared);
      shared.control->filled = 1;
    } else if (threadIdx.x == 32) {
      FeedCopier copier{.chunk = shared.chunk, .copied = &shared.control->copied};
      read_to_ring(params, copier);
      read_for_next<Shape>(params, shared, copier);
    }
  } else {
    ptx::take_registers<232>();
    ptx::grid_dependency_wait();
    consume_gemm_tiles<T, Shape>(params, rank, shared, warp / 4 - 1,
                                 static_cast<int>(threadIdx.x) % 128);
  }
  __syncwarp();
  // Peers still write to this thread block's shared memory and arrive at its barriers.
  ptx::cluster_arrive();
  ptx::cluster_wait();
  clear_counters<Shape>(params, *shared.control);
}

}  // namespace dak
