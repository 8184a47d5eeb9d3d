// Mode prefetch: the copy engine brings the remote row blocks of each weight, and the remote KV
// pages of each layer, into buffers in local memory, ahead of the operation that reads them there.
// Copies run on a stream of their own in the order in which a forward pass uses them. A copy begins
// as soon as the one before it has ended and its buffer's last reader is done; an operation waits
// for its own copy alone.
//
// A recorded decode step finds its first weight staged, copies the others, and ends by copying the
// first one again, for the next step: only the change of graphs interrupts the copies. KV pages are
// copied in the step that reads them, since the next step's are not known yet.
#pragma once

#include <cuda_runtime_api.h>

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <unordered_map>
#include <vector>

#include "memory/tiered_tensor.h"
#include "ops/cuda/kv_staging.h"
#include "ops/cuda_backend.h"

namespace dak {

// The copies of one layer's KV pages in a recorded step. A page list that changes needs no new
// recording: copies are given other ranges, or switched off.
struct RecordedKvCopies {
  int64_t layer = 0;
  std::vector<cudaGraphNode_t> nodes;  // of the graph that was recorded
  std::vector<CopyRange> ranges;       // of each; empty: it copies nothing that is needed
};

class Prefetcher {
 public:
  // `compute`: the stream of the operations. See use_prefetch for the rest.
  Prefetcher(std::span<const PrefetchStage> cycle, std::span<std::byte* const> buffers,
             cudaStream_t compute);
  ~Prefetcher();
  Prefetcher(const Prefetcher&) = delete;
  Prefetcher& operator=(const Prefetcher&) = delete;

  // The weight as the kernels see it: all local. `weight` itself when nothing of it is remote.
  const TieredTensor& staged(const TieredTensor& weight) const;
  bool stages_kv() const { return !kv_stage_of_.empty(); }  // pages of some layer
  // The pages of a layer as attention sees them; nullopt when none of the layer is staged.
  std::optional<StagedKv> staged(const AttentionConfig& config,
                                 std::span<const KvSequence> sequences) const;

  // What the pass that begins will read of a layer's pool. For every layer before the pass's first
  // operation: copies run ahead. A recorded step has room for ranges of so many `sequences`, which
  // may have none yet.
  void announce_kv(int64_t layer, std::vector<CopyRange> ranges, size_t sequences = 1);

  // Before the kernels that read the weight, or the layer's pages. True: they wait for a copy, and
  // must not start early.
  bool acquire(const TieredTensor& weight);
  bool acquire_kv(int64_t layer);
  // After them.
  void release(const TieredTensor& weight);
  void release_kv(int64_t layer);

  // Around a capture of the compute stream: the first before it begins, the others inside it.
  void prepare_recording();
  void begin_recording();
  void end_recording();
  // After it, whether or not it came to an end. The recorded copies of KV pages.
  std::vector<RecordedKvCopies> finish_recording();
  // Gives a copy of a recorded graph another range, which is not empty.
  void set_range(cudaGraphExec_t graph, const RecordedKvCopies& copies, size_t copy,
                 const CopyRange& range) const;
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
    TieredTensor staged;  // of a weight
    size_t buffer;
    std::vector<Run> runs;
    int64_t kv_layer = -1;          // of KV pages
    KvPool pool = {};               // of them
    bool announced = false;         // `ranges` are of the pass under way, which has not read them
    std::vector<CopyRange> ranges;  // of the pool
    size_t sequences = 1;           // that were announced
    bool is_kv() const { return kv_layer >= 0; }
  };
  // As of the work enqueued so far.
  struct Buffer {
    std::byte* data = nullptr;
    cudaEvent_t copied = nullptr;
    std::optional<size_t> holds;  // stage that was copied and not released; none: free
    bool pending = false;         // the compute stream has not waited for the copy
  };

  void add_weight(const PrefetchStage& from);
  void add_kv(const PrefetchStage& from);
  Buffer& buffer_of(size_t stage) { return buffers_[cycle_[stage].buffer]; }
  size_t after(size_t stage) const { return (stage + 1) % cycle_.size(); }
  std::optional<size_t> kv_stage(int64_t layer) const;
  bool acquire_stage(size_t stage);
  void release_stage(size_t stage);
  bool carries() const { return first_ && !cycle_[*first_].is_kv(); }
  void free_all();
  void copy(size_t stage);
  void copy_ranges(const Stage& stage, std::byte* buffer);
  void record_ranges(const Stage& stage, std::byte* buffer);
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
  std::unordered_map<int64_t, size_t> kv_stage_of_;  // by layer
  std::vector<Buffer> buffers_;
  size_t next_copy_ = 0;

  bool recording_ = false;
  size_t to_record_ = 0;  // stages that the recording has yet to copy
  // That a recorded step uses; none: it uses none or was not recorded. A weight is staged when the
  // step begins and again when it ends.
  std::optional<size_t> first_;
  std::vector<RecordedKvCopies> recorded_kv_;
  std::vector<Buffer> before_recording_;
  size_t next_before_recording_ = 0;
};

}  // namespace dak
