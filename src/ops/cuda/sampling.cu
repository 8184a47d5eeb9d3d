// The end of a recorded decode step: one kernel finds every row's most likely token, the other
// takes it or, in rows with a temperature, draws by ops/token_draw.h.
//
// A cluster of thread blocks draws a row's token; one block does where the GPU has no clusters, or
// where there are rows enough for all SMs. Each block keeps to its run of the vocabulary; what the
// cluster must agree on are sums, which every block adds up for itself from the shared memory of
// all. Top-k and top-p are one search: the key
// below which lie so many tokens, or so much weight, found 8 bits at a time from histograms of 256
// bins.
#include <cooperative_groups.h>

#include "kernels/begin.cuh"
#include "kernels/launch.h"
#include "ops/cuda/sampling.h"

namespace dak::cuda {
namespace {

namespace cg = cooperative_groups;

constexpr uint32_t kAllLanes = 0xffffffffu;
constexpr int kBestThreads = 256;
constexpr int kBestBlocks = 16;  // that look for the best token of one row
constexpr int kDrawThreads = 1024;
constexpr int kDrawWarps = kDrawThreads / 32;
constexpr int kMostClusterRows = 16;  // above, blocks work alone
constexpr int kMostDrawBlocks = 128;  // at work at one time, with an SM for each
constexpr int kBins = 256;
constexpr int kBinBits = 8;
constexpr int kListed = 4096;

// Who draws a row.
struct OneBlock {
  static constexpr int kBlocks = 1;
  __device__ int rank() const { return 0; }
  __device__ void sync() const { __syncthreads(); }
  // Where block `rank` has what this block has at `own`.
  template <typename T>
  __device__ const T* shared_of(const T* own, int) const {
    return own;
  }
};
struct BlockCluster {
  static constexpr int kBlocks = 8;  // the most that every GPU with clusters has
#if !defined(__CUDA_ARCH__) || __CUDA_ARCH__ >= 900
  __device__ int rank() const { return static_cast<int>(cg::this_cluster().block_rank()); }
  __device__ void sync() const { cg::this_cluster().sync(); }
  template <typename T>
  __device__ const T* shared_of(T* own, int rank) const {
    return cg::this_cluster().map_shared_rank(own, rank);
  }
#endif
};
static_assert(kBins <= kDrawThreads && BlockCluster::kBlocks * kDrawWarps <= kDrawThreads);

// A token's place in the order of likelihood: 8 bits of its scaled gap, which spread a vocabulary
// over the bins better than a float's exponent would, then the gap itself, as good as an integer
// since it is not negative.
constexpr int kKeyBits = 40;
constexpr float kBinsPerUnit = 9;  // kBins / kDrawReach, or less
constexpr uint64_t kNeverDrawn = ~uint64_t{0};
static_assert(kBinsPerUnit * kDrawReach < kBins);

// f32 as an integer of the same order; 0 is below every number. The lower id wins among equals.
__device__ unsigned long long candidate(float logit, int64_t id) {
  if (!(logit > -INFINITY)) return 0;
  const uint32_t bits = __float_as_uint(logit + 0.0f);  // -0 ties with 0
  const uint32_t ordered = (bits & 0x80000000u) != 0 ? ~bits : bits | 0x80000000u;
  return static_cast<unsigned long long>(ordered) << 32 | (0xffffffffu - static_cast<uint32_t>(id));
}

__device__ int32_t token_of(unsigned long long best) {
  return best == 0 ? -1 : static_cast<int32_t>(0xffffffffu - static_cast<uint32_t>(best));
}

__device__ float logit_of(unsigned long long best) {
  const auto ordered = static_cast<uint32_t>(best >> 32);
  return __uint_as_float((ordered & 0x80000000u) != 0 ? ordered & 0x7fffffffu : ~ordered);
}

__global__ void best_token_kernel(const __grid_constant__ AdvanceParams p) {
  begin_dependent();
  if (blockIdx.x == 0 && threadIdx.x == 0) *p.step += 1;
  const int64_t m = blockIdx.x / kBestBlocks;
  if (p.rows[m].token < 0) return;
  const float* logits = p.logits + m * p.vocabulary;
  unsigned long long best = 0;
  for (int64_t id = blockIdx.x % kBestBlocks * kBestThreads + threadIdx.x; id < p.vocabulary;
       id += int64_t{kBestBlocks} * kBestThreads) {
    best = max(best, candidate(logits[id], id));
  }
  for (int step = 16; step > 0; step /= 2) {
    best = max(best, __shfl_xor_sync(kAllLanes, best, step));
  }
  if (threadIdx.x % 32 == 0) atomicMax(&p.best[m], best);
}

// By one thread. -1: there was nothing to choose. A row of no sequence stays one.
__device__ void advance(const AdvanceParams& p, int64_t row, int32_t token) {
  if (p.rows[row].token < 0) return;
  p.best[row] = 0;
  p.ids[row] = token < 0 ? 0 : token;  // an id that exists, whatever happens
  p.positions[row] += 1;
  p.rows[row].token += 1;
  p.rows[row].fresh += 1;
  p.history[(*p.step - 1) % kTokenHistory * p.m + row] = token;
}

// Where among the threads' values, laid out in their order, a target falls.
struct Found {
  uint32_t thread;
  uint64_t rest;   // the target less the values before
  uint64_t value;  // of the thread
};

struct DrawShared {
  // Sums of the bins in two halves; 64-bit atomics on shared memory would be loops. By turns, so
  // that one set is filled while other blocks still read the one before.
  uint32_t low[2][kBins];
  uint32_t high[2][kBins];
  uint64_t scan[kDrawWarps];
  uint64_t weights[kDrawWarps];  // of the warps' runs; read by the cluster
  Found found;
  uint32_t listed;
  float list[kListed];  // logits that are still in question
};

struct Scan {
  uint64_t before;  // the threads' values before this one's
  uint64_t total;
};

// To be followed by find, or by __syncthreads.
__device__ Scan scan_block(DrawShared& shared, uint64_t value) {
  const int warp = static_cast<int>(threadIdx.x) / 32;
  const int lane = static_cast<int>(threadIdx.x) % 32;
  uint64_t sum = value;
  for (int step = 1; step < 32; step *= 2) {
    const uint64_t other = __shfl_up_sync(kAllLanes, sum, step);
    if (lane >= step) sum += other;
  }
  if (lane == 31) shared.scan[warp] = sum;
  __syncthreads();
  Scan result{.before = sum - value, .total = 0};
  for (int i = 0; i < kDrawWarps; ++i) {
    const uint64_t of_warp = shared.scan[i];
    result.before += i < warp ? of_warp : 0;
    result.total += of_warp;
  }
  return result;
}

// `target` is below the total.
__device__ Found find(DrawShared& shared, const Scan& scan, uint64_t value, uint64_t target) {
  if (scan.before <= target && target - scan.before < value) {
    shared.found = {.thread = threadIdx.x, .rest = target - scan.before, .value = value};
  }
  __syncthreads();
  return shared.found;
}

// A run of token ids.
struct Run {
  int begin;
  int end;
};

// Part `i` of a run cut into `parts`.
__device__ Run part_of(Run run, int i, int parts) {
  const int each = (run.end - run.begin + parts - 1) / parts;
  const int begin = min(run.end, run.begin + i * each);
  return {.begin = begin, .end = min(run.end, begin + each)};
}

// One row's draw, as a thread block of its cluster sees it.
struct Row {
  const float* logits;
  Run run;  // the block's
  float largest;
  float inverse_temperature;
  bool listed;  // what is still in question of the run is in DrawShared::list
  int turn;     // of the histograms

  __device__ float scaled(float logit) const {
    return scaled_gap(draw_gap(largest, logit), inverse_temperature);
  }
  __device__ uint64_t key(float logit) const {
    const float gap_scaled = scaled(logit);
    if (!can_be_drawn(gap_scaled)) return kNeverDrawn;
    return static_cast<uint64_t>(gap_scaled * kBinsPerUnit) << 32 |
           __float_as_uint(draw_gap(largest, logit));
  }
};

template <typename Body>
__device__ void for_each_logit(const DrawShared& shared, const Row& row, const Body& body) {
  const auto thread = static_cast<int>(threadIdx.x);
  if (row.listed) {
    for (int i = thread; i < static_cast<int>(shared.listed); i += kDrawThreads) {
      body(shared.list[i]);
    }
    return;
  }
#pragma unroll 4
  for (int i = row.run.begin + thread; i < row.run.end; i += kDrawThreads) body(row.logits[i]);
}

// Lists the logits whose key begins with at most `first_bits`, if there is room for them: the
// searches that follow need no others.
__device__ void list_candidates(DrawShared& shared, Row& row, uint64_t first_bits) {
  const int lane = static_cast<int>(threadIdx.x) % 32;
  if (threadIdx.x == 0) shared.listed = 0;
  __syncthreads();
  const int first = row.run.begin + static_cast<int>(threadIdx.x) - lane;
  for (int warp_at = first; warp_at < row.run.end; warp_at += kDrawThreads) {
    const int i = warp_at + lane;
    const float logit = i < row.run.end ? row.logits[i] : NAN;
    const bool keep = row.key(logit) >> (kKeyBits - kBinBits) <= first_bits;
    const uint32_t kept = __ballot_sync(kAllLanes, keep);
    uint32_t at = 0;
    if (lane == 0 && kept != 0) at = atomicAdd(&shared.listed, __popc(kept));
    at = __shfl_sync(kAllLanes, at, 0) + __popc(kept & ((1u << lane) - 1));
    if (keep && at < kListed) shared.list[at] = logit;
  }
  __syncthreads();
  row.listed = shared.listed <= kListed;
}

__device__ void add_to_bin(DrawShared& shared, int turn, uint32_t bin, uint64_t measure) {
  const auto low = static_cast<uint32_t>(measure);
  const uint32_t sum = atomicAdd(&shared.low[turn][bin], low) + low;
  const uint32_t high = static_cast<uint32_t>(measure >> 32) + (sum < low ? 1 : 0);
  if (high != 0) atomicAdd(&shared.high[turn][bin], high);
}

// The sum over the cluster of this thread's bin.
template <typename Cluster>
__device__ uint64_t bin_sum(const Cluster& cluster, DrawShared& shared, int turn) {
  uint64_t sum = 0;
  if (threadIdx.x >= kBins) return sum;
#pragma unroll
  for (int rank = 0; rank < Cluster::kBlocks; ++rank) {
    const DrawShared* block = cluster.shared_of(&shared, rank);
    sum += block->low[turn][threadIdx.x];
    sum += static_cast<uint64_t>(block->high[turn][threadIdx.x]) << 32;
  }
  return sum;
}

// The key up to which tokens count, when of those up to `limit`, in the order of keys, only so many
// shall: those that hold the units of measure up to number `target(total)`, from 0. `measure`: of a
// scaled gap. The same in every thread of the cluster.
template <typename Cluster, typename Measure, typename Target>
__device__ uint64_t last_key(const Cluster& cluster, DrawShared& shared, Row& row, uint64_t limit,
                             const Measure& measure, const Target& target_of) {
  uint64_t prefix = 0;
  uint64_t target = 0;
  for (int shift = kKeyBits - kBinBits; shift >= 0; shift -= kBinBits) {
    row.turn ^= 1;
    if (threadIdx.x < kBins) {
      shared.low[row.turn][threadIdx.x] = 0;
      shared.high[row.turn][threadIdx.x] = 0;
    }
    __syncthreads();
    for_each_logit(shared, row, [&](float logit) {
      const uint64_t key = row.key(logit);
      if (key > limit || key >> (shift + kBinBits) != prefix) return;
      add_to_bin(shared, row.turn, static_cast<uint32_t>(key >> shift) % kBins,
                 measure(row.scaled(logit)));
    });
    cluster.sync();
    const uint64_t sum = bin_sum(cluster, shared, row.turn);
    const Scan scan = scan_block(shared, sum);
    const bool first = shift == kKeyBits - kBinBits;
    if (first) {
      target = target_of(scan.total);
      if (target >= scan.total) return limit;  // there are no more
    }
    const Found found = find(shared, scan, sum, target);
    prefix = prefix << kBinBits | found.thread;
    target = found.rest;
    if (first && !row.listed) list_candidates(shared, row, prefix);
    if (target + 1 == found.value) {  // the whole bin
      return min(limit, ((prefix + 1) << shift) - 1);
    }
  }
  return prefix;
}

template <typename Cluster>
__device__ void draw_row(const Cluster& cluster, DrawShared& shared, const AdvanceParams& p,
                         int64_t index, const DrawParams& draw) {
  const unsigned long long best = p.best[index];
  const auto rank = cluster.rank();
  if (best == 0) {
    if (rank == 0 && threadIdx.x == 0) advance(p, index, -1);
    return;
  }
  const auto place = static_cast<uint64_t>(p.positions[index]) + 1;  // of the token that is drawn
  const auto thread = static_cast<int>(threadIdx.x);
  const int warp = thread / 32;
  const int lane = thread % 32;
  Row row{.logits = p.logits + index * p.vocabulary,
          .run = part_of({0, static_cast<int>(p.vocabulary)}, rank, Cluster::kBlocks),
          .largest = logit_of(best),
          .inverse_temperature = 1.0f / draw.temperature,
          .listed = false,
          .turn = 0};
  uint64_t limit = (uint64_t{1} << kKeyBits) - 1;
  if (draw.top_k > 0) {
    limit = last_key(
        cluster, shared, row, limit, [](float) { return uint64_t{1}; },
        [&](uint64_t) { return static_cast<uint64_t>(draw.top_k) - 1; });
  }
  if (draw.top_p < 1.0f) {
    limit = last_key(
        cluster, shared, row, limit, [](float scaled) { return draw_weight(scaled); },
        [&](uint64_t total) { return nucleus_weight(total, draw.top_p) - 1; });
  }
  const uint64_t least = least_draw_weight(draw.min_p);
  const auto weight_at = [&](int id) {
    const float logit = row.logits[id];
    if (row.key(logit) > limit) return uint64_t{0};
    const uint64_t weight = draw_weight(row.scaled(logit));
    return weight < least ? uint64_t{0} : weight;
  };

  // By token id: which warp's run, then which token of it.
  uint64_t weight = 0;
  const Run warp_run = part_of(row.run, warp, kDrawWarps);
#pragma unroll 4
  for (int id = warp_run.begin + lane; id < warp_run.end; id += 32) weight += weight_at(id);
  for (int step = 16; step > 0; step /= 2) {
    weight += __shfl_xor_sync(kAllLanes, weight, step);
  }
  if (lane == 0) shared.weights[warp] = weight;
  cluster.sync();
  uint64_t of_warp = 0;
  if (thread < Cluster::kBlocks * kDrawWarps) {
    of_warp = cluster.shared_of(&shared, thread / kDrawWarps)->weights[thread % kDrawWarps];
  }
  const Scan warps = scan_block(shared, of_warp);
  const Found run = find(shared, warps, of_warp, draw_target(warps.total, draw.seed, place));
  if (static_cast<int>(run.thread) / kDrawWarps == rank) {
    const Run ids = part_of(part_of(row.run, static_cast<int>(run.thread) % kDrawWarps, kDrawWarps),
                            static_cast<int>(threadIdx.x), kDrawThreads);
    uint64_t own = 0;
    for (int id = ids.begin; id < ids.end; ++id) own += weight_at(id);
    const uint64_t before = scan_block(shared, own).before;
    if (before <= run.rest && run.rest - before < own) {
      uint64_t rest = run.rest - before;
      int id = ids.begin;
      for (; rest >= weight_at(id); ++id) rest -= weight_at(id);
      advance(p, index, id);
    }
  }
  cluster.sync();  // until here others may read this block's shared memory
}

template <typename Cluster>
__device__ void draw_rows(const AdvanceParams& p) {
  __shared__ DrawShared shared;
  begin_dependent();
  if (blockIdx.x == 0) {
    for (int64_t row = threadIdx.x; row < p.m; row += kDrawThreads) {
      if (p.draws[row].temperature == 0.0f) advance(p, row, token_of(p.best[row]));
    }
  }
  const Cluster cluster;
  constexpr unsigned kBlocks = Cluster::kBlocks;
  for (int64_t row = blockIdx.x / kBlocks; row < p.m; row += gridDim.x / kBlocks) {
    const DrawParams draw = p.draws[row];
    if (draw.temperature != 0.0f) draw_row(cluster, shared, p, row, draw);
  }
}

__global__ void __launch_bounds__(kDrawThreads, 1)
    draw_kernel(const __grid_constant__ AdvanceParams p) {
  draw_rows<OneBlock>(p);
}

#if !defined(__CUDA_ARCH__) || __CUDA_ARCH__ >= 900
__global__ void __cluster_dims__(BlockCluster::kBlocks) __launch_bounds__(kDrawThreads, 1)
    draw_by_clusters_kernel(const __grid_constant__ AdvanceParams p) {
  draw_rows<BlockCluster>(p);
}
#else
__global__ void draw_by_clusters_kernel(const __grid_constant__ AdvanceParams) { __trap(); }
#endif

}  // namespace

void launch_advance(const AdvanceParams& params, cudaStream_t stream) {
  const auto rows = static_cast<int>(params.m);
  launch(best_token_kernel, params,
         {.blocks = rows * kBestBlocks, .threads = kBestThreads, .overlap_previous = true}, stream);
  // GPUs whose launches overlap are those that have clusters.
  const bool clusters = rows <= kMostClusterRows && launches_overlap();
  launch(clusters ? draw_by_clusters_kernel : draw_kernel, params,
         {.blocks = clusters ? rows * BlockCluster::kBlocks : min(rows, kMostDrawBlocks),
          .threads = kDrawThreads,
          .overlap_previous = true},
         stream);
}

}  // namespace dak::cuda
