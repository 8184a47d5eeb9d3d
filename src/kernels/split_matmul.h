// Decode matmul over a weight whose row blocks lie in several tiers; the host side of
// sm90_split_matmul.cuh and plain_split_matmul.cuh.
#pragma once

#include <cuda_runtime_api.h>

#include <array>
#include <cstdint>

#include "base/activation.h"
#include "base/dtype.h"
#include "kernels/device_buffer.h"
#include "kernels/kernel_kind.h"
#include "kernels/link_controller.h"
#include "kernels/sm90_split_matmul.h"
#include "kernels/split_schedule.h"
#include "memory/tiered_tensor.h"

namespace dak {

// A weight's schedules (batch up to 16, 32 and 64) on the device. The row blocks
// themselves stay where they are and must outlive this; their addresses must be readable by the
// current device.
class SplitWeight {
 public:
  // Throws kInvalidArgument for a weight that is not 16-bit or inconsistent.
  SplitWeight(const TieredTensor& weight, int sm_count,
              const ReaderCounts& readers = most_readers(),
              KernelKind kernels = KernelKind::kTma);  // not kAuto

  struct Deal {
    SplitSchedule schedule;  // items moved to the device
    DeviceBuffer items;
  };
  const Deal& deal_for(int64_t batch) const {
    return deals_[batch <= 16 ? 0 : batch <= 32 ? 1 : 2];
  }

  int64_t rows() const { return rows_; }
  int64_t cols() const { return cols_; }
  DType dtype() const { return dtype_; }
  KernelKind kernels() const { return kernels_; }
  const TierTraffic& traffic() const { return deals_[0].schedule.traffic; }
  // What a workspace must hold for any batch up to `batch`.
  int64_t partial_bytes(int64_t batch) const;

 private:
  int64_t rows_;
  int64_t cols_;
  DType dtype_;
  KernelKind kernels_;
  std::array<Deal, 3> deals_;
};

// Partial sums and arrival counters, shared by all matmuls of one stream.
class SplitWorkspace {
 public:
  // Grows to serve `weight` up to `batch`; true if that changed the addresses. Not while work that
  // uses it is in flight.
  bool reserve(const SplitWeight& weight, int64_t batch);

  float* partials() const { return partials_.as<float>(); }
  uint32_t* arrivals() const { return arrivals_.as<uint32_t>(); }
  int64_t size_bytes() const { return partials_.size_bytes() + arrivals_.size_bytes(); }

 private:
  DeviceBuffer partials_;
  DeviceBuffer arrivals_;
};

struct SplitMatmulArgs {
  const void* x = nullptr;        // [batch, cols] of the weight's dtype, 16-byte aligned
  int64_t x_stride = 0;           // elements between rows, a multiple of 8
  int64_t batch = 0;              // 1..64
  void* out = nullptr;            // [batch, rows], or [batch, rows / 2] if gated
  int64_t out_stride = 0;         // elements between rows of out and residual
  DType out_dtype = DType::kF32;  // f32, bf16 or f16
  const float* bias = nullptr;    // [rows], added first; not with gated
  Activation activation = Activation::kNone;
  bool gated = false;              // rows interleaved by gated_source_row: activation(gate) * up
  const void* residual = nullptr;  // like out, added last; may be `out` itself
  bool overlap_previous = true;    // programmatic dependent launch
};

// Enqueues out = activation(x w^T + bias) + residual. Reads each row block once. The result
// depends on shape, values and the kind of kernels alone, never on placement. Throws
// kInvalidArgument for arguments that the kernel cannot take and kInternal for a workspace that was
// not reserved.
void split_matmul(const SplitWeight& weight, const SplitMatmulArgs& args,
                  const SplitWorkspace& workspace, const LinkController& links,
                  cudaStream_t stream);

}  // namespace dak
