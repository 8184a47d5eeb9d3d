// Collects the operations of a decode step that is being recorded, and enqueues runs of them as one
// persistent kernel each (decode_step.h). What that kernel cannot do goes its ordinary way: the run
// so far is enqueued first, so order is kept.
#pragma once

#include <cuda_runtime_api.h>

#include <array>
#include <cstdint>
#include <optional>
#include <vector>

#include "kernels/device_buffer.h"
#include "kernels/split_matmul.h"
#include "ops/cuda/decode_step.h"
#include "ops/cuda/kernels.h"

namespace dak::cuda {

class StepRecorder {
 public:
  // Counts operations until `start`, then takes them: memory is not to be had while a graph is
  // recorded.
  StepRecorder(int sm_count, cudaStream_t stream) : sm_count_(sm_count), stream_(stream) {}
  void start();

  // True: taken, do not enqueue.
  bool matmul(const SplitMatmulLaunch& product);
  bool norm(const NormParams& params);
  bool gather(const GatherRowsParams& params);
  // Taken only together, and only if the attention is of these heads.
  bool heads(const SplitHeadsParams& params);
  bool attention(const AttentionParams& params);

  // Enqueues what was taken and is not enqueued yet.
  void flush();
  // Once the graph is recorded: what its kernels read goes to the device.
  void finish();

  // Operations that went into persistent kernels, and how many such kernels there are.
  int64_t operations() const { return std::ssize(ops_); }
  int64_t kernels() const { return kernels_; }

 private:
  bool counting();
  bool fits_run(DType dtype, int batch_tile) const;
  bool overlaps_readers(const SplitMatmulParams& params) const;
  void require_run(DType dtype, int batch_tile);
  StepOp& add(StepKind kind, int participants);

  int sm_count_;
  cudaStream_t stream_;
  bool started_ = false;
  int64_t counted_ = 0;
  std::vector<StepOp> ops_;  // of all runs
  DeviceBuffer device_ops_;
  DeviceBuffer done_;
  int64_t kernels_ = 0;
  std::optional<SplitHeadsParams> heads_;  // taken, waiting for their attention

  // The run that is being collected; 0: not known yet.
  size_t run_begin_ = 0;
  std::optional<DType> dtype_;
  int batch_tile_ = 0;
  StepParams run_{};
};

}  // namespace dak::cuda
