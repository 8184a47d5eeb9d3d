// The state behind OpContext::cuda.
#pragma once

#include <cuda_runtime_api.h>

#include <array>
#include <cstdint>
#include <functional>
#include <initializer_list>
#include <memory>
#include <span>
#include <unordered_map>
#include <vector>

#include "kernels/device_buffer.h"
#include "kernels/gemm.h"
#include "kernels/link_controller.h"
#include "kernels/split_matmul.h"
#include "memory/tiered_tensor.h"
#include "ops/context.h"
#include "ops/cuda/gemm_sequence.h"
#include "ops/cuda/prefetch.h"
#include "ops/cuda/step_tables.h"
#include "ops/cuda/uva.h"
#include "ops/cuda_backend.h"

namespace dak {

class CudaBackend {
 public:
  CudaBackend(int ordinal, KernelKind kernels);
  ~CudaBackend();
  CudaBackend(const CudaBackend&) = delete;
  CudaBackend& operator=(const CudaBackend&) = delete;

  // Makes the GPU the calling thread's current one.
  void enter() const { cuda_check(cudaSetDevice(ordinal_)); }
  cudaStream_t stream() const { return stream_; }
  KernelKind kernels() const { return kernels_; }  // not kAuto

  const LinkController& links() const { return links_; }
  LinkController& links() { return links_; }

  // Modes other than direct; null: not in use. Set before the first operation.
  Prefetcher* prefetcher() const { return prefetcher_.get(); }
  void use_prefetch(std::span<const PrefetchStage> cycle, std::span<std::byte* const> buffers);
  UvaMatmul& uva() const;
  void use_uva(std::byte* memory, int64_t size_bytes);

  // Ends what the next three give: made again at the next use.
  void forget_weights();

  // Schedules of a weight, made at its first use; the workspace serves it from then on. In mode
  // prefetch the schedules read the buffers.
  const SplitWeight& split(const TieredTensor& weight);
  // More rows than a decode step usually has: one product, which reads what is remote once.
  bool is_wide(int64_t rows) const { return rows > kMaxSplitBatch && kernels_ == KernelKind::kTma; }
  // Addresses of the row blocks, on the device.
  const std::byte* const* block_table(const TieredTensor& weight);
  const SplitWorkspace& workspace() const { return workspace_; }
  // The same for products of more rows than a split matmul takes. TMA kernels alone.
  const GemmWeight& wide(const TieredTensor& weight);
  const GemmWorkspace& gemm_workspace() const { return gemm_workspace_; }
  cuda::GemmSequence& gemm_sequence() { return gemm_sequence_; }

  // Small host data for kernels, one slot for each kind: a copy on the device that is good for what
  // is enqueued before the slot's next upload. Unchanged data are not sent again. While a graph is
  // recorded nothing is sent: the graph reads whatever the slot holds when it is launched.
  enum Slot : size_t {
    kIds,
    kPositions,
    kFrequencies,
    kRows,
    kKvRows,
    kDraws,
    kKvPages,  // from here on: not of recorded steps, which have step_tables
    kKvRuns = 1 << 20,
    kPrefillPlan = 1 << 21,
    kSeenPages = 1 << 22  // where attention sees pages, if not where they lie
  };
  template <typename T>
  T* upload(Slot slot, std::span<const T> values, int64_t layer = 0) {
    return reinterpret_cast<T*>(
        upload_bytes(slot + static_cast<size_t>(layer), std::as_bytes(values)));
  }
  // Where the slot lies; it has been uploaded to.
  template <typename T>
  T* slot(Slot slot) {
    return reinterpret_cast<T*>(uploads_.at(slot).device.as());
  }
  // So much fits a slot from now on, without its place changing.
  void reserve_slot(Slot slot, int64_t size_bytes);
  // Counts uploads to the slots that a decode step's inputs are in.
  uint64_t input_epoch() const { return input_epoch_; }
  // Counts what recorded steps of so many rows read and was replaced by something larger: those
  // recorded before are stale.
  uint64_t generation(int64_t rows) const {
    return generation_ + product_generations_[is_wide(rows) ? 1 : 0];
  }
  // All that a recorded step of so many rows uses has its place, since a pass of as many rows or
  // more has run; false before, and after the places have changed.
  bool has_places(int64_t rows) const;
  void set_has_places(int64_t rows);

  // Of recorded steps. The pointers are the device's: a layer's pages, its runs.
  cuda::StepTables& step_tables() { return step_tables_; }
  void reserve_step_tables(const cuda::StepTables::Room& room);
  std::byte* const* step_pages(cuda::StepTables::Which which, int64_t layer) const;
  const uint64_t* step_runs(int64_t layer) const;
  // What has changed goes up.
  void send_step_tables();
  // Kernels changed what these slots hold: the next upload sends in any case.
  void forget_uploads(std::initializer_list<Slot> slots);

  // What `enqueue` does with the stream recording instead of running. The caller's to destroy.
  struct Recording {
    cudaGraph_t graph = nullptr;
    cudaGraphExec_t executable = nullptr;
    std::vector<RecordedKvCopies> kv_copies;
  };
  // A step of `rows`; its products are those of the step that was noted last, if any was.
  Recording record(int64_t rows, const std::function<void()>& enqueue);
  // Runs a step and notes its GEMMs, for the recordings that follow.
  void note_step(int64_t rows, const std::function<void()>& enqueue);

  // For launch_advance; room for `m` rows.
  struct StepState {
    unsigned long long* best;
    uint32_t* step;
    int32_t* history;  // host memory that the device writes to
  };
  StepState step_state(int64_t m);
  // What *StepState::step will be once all that is enqueued has run: recorded steps that choose
  // their tokens count it up.
  int64_t steps_launched() const { return steps_launched_; }
  void count_step() { ++steps_launched_; }

  int sm_count() const { return sm_count_; }
  const ReaderCounts& readers() const { return readers_; }
  void set_readers(const ReaderCounts& readers) { readers_ = readers; }
  // Thread blocks that copy remote row blocks for a GEMM, 8 KiB each at a time.
  int gemm_readers() const { return gemm_readers_for(readers_); }

  // Partial results of attention and the counters of their arrival.
  struct Pieces {
    float* values;
    uint32_t* arrivals;  // zero between launches
  };
  Pieces pieces(int64_t value_bytes, int64_t counters);
  bool recording() const { return recording_; }

  // Of attention with many rows: remote pages on their way, sums between units of work, counters
  // that are zero between launches. Grows and is kept; 0 bytes: not needed now.
  struct PrefillMemory {
    std::byte* ring;
    float* states;
    std::byte* counters;
  };
  PrefillMemory prefill_memory(int64_t ring_bytes, int64_t state_bytes, int64_t counter_bytes);

  // Device scratch that grows and is kept; one user at a time in the order of the stream.
  void* scratch(int64_t size_bytes);

  // Values on the host, there once the stream has come here; good until the next call.
  const float* start_download(const float* values, int64_t count);
  // Waits for them.
  const float* download(const float* values, int64_t count);

 private:
  // The weight as the kernels see it. Throws kUnsupported for f32.
  const TieredTensor& seen(const TieredTensor& weight) const;
  std::byte* upload_bytes(size_t slot, std::span<const std::byte> bytes);
  std::byte* pinned_for(int64_t size_bytes);
  void widen_gemm_ring();
  void send_pages(cuda::StepTables::Which which, const cuda::StepTables::PageChange& change);

  struct Uploaded {
    std::vector<std::byte> host;
    DeviceBuffer device;
  };
  struct PinnedDeleter {
    void operator()(void* memory) const { cudaFreeHost(memory); }
  };
  struct Pinned {
    std::unique_ptr<void, PinnedDeleter> memory;
    int64_t size_bytes = 0;
    int64_t used = 0;
  };
  static Pinned make_pinned(int64_t size_bytes);

  int ordinal_;
  KernelKind kernels_;
  int sm_count_ = 0;
  ReaderCounts readers_ = most_readers();
  cudaStream_t stream_ = nullptr;
  LinkController links_;
  SplitWorkspace workspace_;
  std::unordered_map<const RowBlock*, std::unique_ptr<SplitWeight>> weights_;
  GemmWorkspace gemm_workspace_;
  int64_t gemm_ring_bytes_ = kGemmRingBytes;
  std::unordered_map<const RowBlock*, std::unique_ptr<GemmWeight>> wide_weights_;
  cuda::GemmSequence gemm_sequence_;
  std::unordered_map<const RowBlock*, DeviceBuffer> block_tables_;
  std::unordered_map<size_t, Uploaded> uploads_;  // by slot; the last four + layer
  bool recording_ = false;
  uint64_t input_epoch_ = 0;
  uint64_t generation_ = 0;
  std::array<uint64_t, 2> product_generations_{};  // of what the split matmul and the GEMM use
  struct Places {
    int64_t rows = 0;
    uint64_t generation = 0;
  };
  std::array<Places, 2> places_;  // of steps by the split matmul, and by the GEMM
  cuda::StepTables step_tables_;
  std::array<DeviceBuffer, 2> step_pages_;  // by StepTables::Which
  DeviceBuffer step_runs_;
  DeviceBuffer step_;
  int64_t steps_launched_ = 0;
  Pinned history_;
  Pinned ring_;  // what uploads pass through
  Pinned back_;  // what downloads arrive in
  DeviceBuffer scratch_;
  DeviceBuffer pieces_;
  DeviceBuffer piece_arrivals_;
  DeviceBuffer prefill_ring_;
  DeviceBuffer prefill_states_;
  DeviceBuffer prefill_counters_;
  std::unique_ptr<Prefetcher> prefetcher_;
  std::unique_ptr<UvaMatmul> uva_;
};

}  // namespace dak
