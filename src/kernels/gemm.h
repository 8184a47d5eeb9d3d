// GEMM of more rows than a decode step has, over a weight whose row blocks lie in several tiers;
// the host side of sm90_gemm.cuh. H100 and H200 alone.
#pragma once

#include <cuda_runtime_api.h>

#include <array>
#include <cstdint>
#include <vector>

#include "base/activation.h"
#include "base/dtype.h"
#include "kernels/device_buffer.h"
#include "kernels/gemm_schedule.h"
#include "kernels/link_controller.h"
#include "kernels/sm90_gemm.h"
#include "kernels/split_schedule.h"
#include "memory/tiered_tensor.h"

namespace dak {

class GemmWeight;

// Rings and counters, shared by all GEMMs of one stream. Two halves that launches use in turn, for
// a launch may begin while the one before it runs.
class GemmWorkspace {
 public:
  // Grows to serve `weight`; true if that changed the addresses. Not while work that uses it is in
  // flight. Takes nothing for a weight without remote row blocks.
  bool reserve(const GemmWeight& weight, int64_t ring_bytes = kGemmRingBytes);

  int64_t size_bytes() const { return rings_.size_bytes() + counters_.size_bytes(); }

  struct Half {
    std::byte* ring;
    int64_t ring_bytes;
    GemmCounters* counters;
  };
  Half next_half() const { return half(launches_++); }
  // That of the launch that comes `later` launches after the next one.
  Half half_of_next(unsigned later) const { return half(launches_ + later); }
  int64_t counter_bytes() const { return counters_.size_bytes() / 2; }

 private:
  Half half(unsigned launch) const;

  DeviceBuffer rings_;
  DeviceBuffer counters_;
  mutable unsigned launches_ = 0;
};

// A weight's schedule on the device. The row blocks themselves stay where they are and must
// outlive this; their addresses must be readable by the current device.
class GemmWeight {
 public:
  // Throws kInvalidArgument for a weight that is not 16-bit or inconsistent.
  explicit GemmWeight(const TieredTensor& weight);

  const GemmSchedule& schedule() const { return schedule_; }  // its lists are on the device
  const GemmBlock* blocks() const { return blocks_.as<GemmBlock>(); }
  const GemmFetch* fetches() const { return fetches_.as<GemmFetch>(); }
  // For a launch in `half`, reserved for this weight. No ring for a weight without remote row
  // blocks.
  GemmFeed feed(const GemmWorkspace::Half& half) const;
  int groups() const { return groups_; }
  int64_t rows() const { return rows_; }
  int64_t cols() const { return cols_; }
  int64_t block_bytes() const { return block_bytes_; }
  DType dtype() const { return dtype_; }
  const TierTraffic& traffic() const { return schedule_.traffic; }
  int64_t counter_bytes() const;

 private:
  int64_t rows_;
  int64_t cols_;
  int64_t block_bytes_;
  DType dtype_;
  int groups_;  // of kGroupBlocks
  GemmSchedule schedule_;
  std::vector<GemmFetch> fetch_list_;
  DeviceBuffer blocks_;
  DeviceBuffer fetches_;
};

// How a GEMM goes about it; none of this changes a bit of the result.
struct GemmForm {
  int token_tile = 0;    // 128 or 256; 0: the faster one by the number of tiles
  int weight_ranks = 2;  // thread blocks of a cluster that share x: 1 or 2
  int token_ranks = 1;   // that share weights: 1, 2, 4, 8 or 16 with one weight rank, else 1 to 8
  // Remote row blocks through the ring, each byte once; else straight from where they lie, once
  // for every token_ranks * token_tile tokens, with no window.
  bool ring = true;
  GemmOrder order = GemmOrder::kSpread;
  bool halves = true;  // cut the tiles of a last round that would leave most clusters idle
  int readers = 0;     // thread blocks that copy a tier's row blocks to the ring; 0: all there are
};

struct GemmArgs {
  const void* x = nullptr;        // [tokens, cols] of the weight's dtype, 16-byte aligned
  int64_t x_stride = 0;           // elements between rows, a multiple of 8
  int64_t tokens = 0;             // 1 and more
  void* out = nullptr;            // [tokens, rows], or [tokens, rows / 2] if gated
  int64_t out_stride = 0;         // elements between rows of out and residual
  DType out_dtype = DType::kF32;  // f32, bf16 or f16
  const float* bias = nullptr;    // [rows], added first; not with gated
  Activation activation = Activation::kNone;
  bool gated = false;              // rows interleaved by gated_source_row: activation(gate) * up
  const void* residual = nullptr;  // like out, added last; may be `out` itself
  bool overlap_previous = true;    // programmatic dependent launch
  // The next launches of this stream, in order, each with the half of the ring that it will take.
  // Once this launch has its own remote blocks it starts to fetch theirs. The first has no ring
  // where there are none; both are set only if this launch takes no half itself.
  std::array<GemmFeed, kGemmAhead> ahead{};
  GemmForm form;
};

// Enqueues out = activation(x w^T + bias) + residual. With form.ring each remote byte is read once,
// whatever the number of tokens. The result depends on values alone: an output is one f32 sum in
// the order of K. Throws kInvalidArgument for arguments that the kernel cannot take, kUnsupported
// for a cluster that the GPU does not run, kInternal for a workspace that was not reserved.
void gemm(const GemmWeight& weight, const GemmArgs& args, const GemmWorkspace& workspace,
          const LinkController& links, cudaStream_t stream);

// Thread blocks that copy a tier's row blocks: enough to fill the windows of links that a split
// matmul gives `readers`. More of them would only slow what their SMs multiply.
int gemm_readers_for(const ReaderCounts& readers);

// Of `tiles` of 256 tokens, how many are not cut in halves: all but those of a last round that has
// at most half as many tiles as there are clusters.
int64_t whole_tiles_of(int64_t tiles, int clusters);

// The token tile that gemm() chooses for `groups` of kGroupBlocks row blocks and `clusters` that
// run at a time.
int choose_token_tile(int64_t groups, int64_t tokens, int clusters);

}  // namespace dak
