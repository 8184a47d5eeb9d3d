// Mode prefetch: the copy engine brings the remote row blocks of each weight into buffers in local
// memory, ahead of the matmul that reads them there. Copies run on a stream of their own in the
// order in which a forward pass uses the weights. A copy begins as soon as the one before it has
// ended and its buffer's last reader is done; a matmul waits for its own copy alone.
//
// A recorded decode step finds its first weight staged, copies the others, and ends by copying the
// first one again, for the next step: only the change of graphs interrupts the copies.
#pragma once

#include <cuda_runtime_api.h>

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <unordered_map>
#include <vector>

#include "memory/tiered_tensor.h"
#include "ops/cuda_backend.h"

namespace dak {

class Prefetcher {
 public:
  // `compute`: the stream of the matmuls. See use_prefetch for the rest.
  Prefetcher(std::span<const PrefetchStage> cycle, std::span<std::byte* const> buffers,
             cudaStream_t compute);
  ~Prefetcher();
  Prefetcher(const Prefetcher&) = delete;
  Prefetcher& operator=(const Prefetcher&) = delete;

  // The weight as the kernels see it: all local. `weight` itself when nothing of it is remote.
  const TieredTensor& staged(const TieredTensor& weight) const;

  // Before the kernels that read the weight. True: they wait for a copy, and must not start early.
  bool acquire(const TieredTensor& weight);
  // After them.
  void release(const TieredTensor& weight);

  // Around a capture of the compute stream: the first before it begins, the others inside it.
  void prepare_recording();
  void begin_recording();
  void end_recording();
  // After it, whether or not it came to an end.
  void finish_recording();
  // Before a recorded step is launched.
  void prepare_launch();

 private:
  // Consecutive remote row blocks: one copy.
  struct Run {
    const std::byte* from;
    int64_t offset;  // in the buffer
    int64_t size_bytes;
  };
  struct Stage {
    TieredTensor staged;
    size_t buffer;
    std::vector<Run> runs;
  };
  // As of the work enqueued so far.
  struct Buffer {
    std::byte* data = nullptr;
    cudaEvent_t copied = nullptr;
    std::optional<size_t> holds;  // stage that was copied and not released; none: free
    bool pending = false;         // the compute stream has not waited for the copy
  };

  Buffer& buffer_of(size_t stage) { return buffers_[cycle_[stage].buffer]; }
  size_t after(size_t stage) const { return (stage + 1) % cycle_.size(); }
  bool recorded_all() const;
  void free_all();
  void copy(size_t stage);
  void copy_ahead(bool after_compute);
  void restart(size_t stage);
  void settle();
  void copies_wait_for_compute();
  void compute_waits_for_copies();

  cudaStream_t compute_;
  cudaStream_t copies_ = nullptr;
  cudaEvent_t fork_ = nullptr;
  cudaEvent_t join_ = nullptr;
  std::vector<Stage> cycle_;
  std::unordered_map<const RowBlock*, size_t> stage_of_;
  std::vector<Buffer> buffers_;
  size_t next_copy_ = 0;

  bool recording_ = false;
  bool first_again_ = false;  // the recording has copied its first weight for the next step
  std::optional<size_t>
      first_;  // that a recorded step uses; none: it uses none or was not recorded
  std::vector<Buffer> before_recording_;
  size_t next_before_recording_ = 0;
};

}  // namespace dak
