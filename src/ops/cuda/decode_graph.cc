#include "ops/decode_graph.h"

#include <array>
#include <numeric>
#include <vector>

#include "base/error.h"
#include "ops/cuda/backend.h"
#include "ops/cuda/sampling.h"
#include "ops/cuda/state.h"

namespace dak {
namespace {

static_assert(DecodeGraph::kInFlight <= cuda::kTokenHistory);

class CudaDecodeGraph final : public DecodeGraph {
 public:
  CudaDecodeGraph(OpContext& ctx, int64_t rows, const std::function<Tensor()>& forward)
      : ctx_(ctx), backend_(*ctx.cuda), rows_(rows) {
    backend_.enter();
    for (cudaEvent_t& event : finished_events_) cuda_check(cudaEventCreate(&event));
    cuda_check(cudaEventCreate(&begun_));
    const CudaBackend::StepState state = backend_.step_state(rows_);
    history_ = state.history;
    give_inputs_a_place();
    if (!backend_.has_places(rows_)) {
      backend_.note_step(rows_, forward);
      backend_.set_has_places(rows_);
    }
    generation_ = backend_.generation(rows_);
    recording_ = backend_.record(rows_, [&] {
      ctx_.traffic = {};
      logits_ = forward();
      require(logits_.dim(0) == rows_, "a decode graph of another number of rows");
      record_choice(state);
    });
    require(!stale(), "recording a graph moved its buffers");
    for (const RecordedKvCopies& copies : recording_.kv_copies) switch_spare_off(copies);
    cuda_check(cudaGraphUpload(recording_.executable, backend_.stream()));
  }
  ~CudaDecodeGraph() override {
    cudaStreamSynchronize(backend_.stream());
    if (recording_.executable != nullptr) cudaGraphExecDestroy(recording_.executable);
    if (recording_.graph != nullptr) cudaGraphDestroy(recording_.graph);
    for (cudaEvent_t event : finished_events_) cudaEventDestroy(event);
    cudaEventDestroy(begun_);
  }
  CudaDecodeGraph(const CudaDecodeGraph&) = delete;
  CudaDecodeGraph& operator=(const CudaDecodeGraph&) = delete;

  void set_inputs(std::span<const int32_t> tokens, std::span<const int32_t> positions,
                  const AttentionConfig& config, std::span<const KvSequence> sequences,
                  std::span<const DrawParams> draws) override {
    require(launched_ == finished_ && std::ssize(tokens) == rows_,
            "decode graph: inputs while steps are in flight, or of another batch");
    require(draws.empty() || std::ssize(draws) == rows_,
            "decode graph: draws for another number of rows");
    choice_ = draws.empty() ? TokenChoice::kHost : TokenChoice::kDevice;
    cuda::set_inputs(ctx_, tokens, positions, config, sequences);
    upload_logit_rows();
    const std::vector<DrawParams> greedy(draws.empty() ? static_cast<size_t>(rows_) : 0);
    backend_.upload(CudaBackend::kDraws, draws.empty() ? greedy : draws);
    inputs_epoch_ = backend_.input_epoch();
    launched_ = finished_ = backend_.steps_launched();  // other graphs' steps count too
  }
  bool lost_inputs() const override { return inputs_epoch_ != backend_.input_epoch(); }
  bool stale() const override { return generation_ != backend_.generation(rows_); }

  void set_pages(const AttentionConfig& config, std::span<const KvSequence> sequences,
                 std::span<const int64_t> versions) override {
    const std::vector<CopyRange> ranges = cuda::tell_kv_pages(ctx_, config, sequences, versions);
    for (RecordedKvCopies& copies : recording_.kv_copies) {
      if (copies.layer == config.layer) set_ranges(copies, at_most(ranges, copies.nodes.size()));
    }
  }

  void launch() override {
    require(!stale() && !lost_inputs(), "decode graph launched without its buffers or inputs");
    require(launched_ - finished_ < (choice_ == TokenChoice::kDevice ? kInFlight : 1),
            "decode graph: too many steps in flight");
    backend_.enter();
    backend_.send_step_tables();
    if (launched_ == finished_) {
      cuda_check(cudaEventRecord(begun_, backend_.stream()));
      from_ = begun_;
    }
    if (backend_.prefetcher() != nullptr) backend_.prefetcher()->prepare_launch();
    cuda_check(cudaGraphLaunch(recording_.executable, backend_.stream()));
    backend_.count_step();
    backend_.forget_uploads({CudaBackend::kIds, CudaBackend::kPositions, CudaBackend::kKvRows});
    if (choice_ == TokenChoice::kHost) {
      host_logits_ = backend_.start_download(logits_.f32(), logits_.elements());
    }
    cuda_check(cudaEventRecord(event(launched_), backend_.stream()));
    ++launched_;
  }

  void discard() override {
    require(finished_ < launched_, "decode graph: no step to discard");
    cuda_check(cudaEventSynchronize(event(finished_)));
    from_ = event(finished_);
    ++finished_;
  }

  Step finish() override {
    require(finished_ < launched_, "decode graph: no step to finish");
    cuda_check(cudaEventSynchronize(event(finished_)));
    float milliseconds = 0;
    cuda_check(cudaEventElapsedTime(&milliseconds, from_, event(finished_)));
    from_ = event(finished_);
    const int64_t slot = finished_ % int64_t{cuda::kTokenHistory};
    ++finished_;
    if (choice_ == TokenChoice::kHost) {
      return {.tokens = {},
              .logits = {host_logits_, static_cast<size_t>(logits_.elements())},
              .seconds = milliseconds * 1e-3};
    }
    const std::span tokens(history_ + slot * rows_, static_cast<size_t>(rows_));
    return {.tokens = tokens, .logits = {}, .seconds = milliseconds * 1e-3};
  }

 private:
  // Steps that were launched keep their copies.
  void set_ranges(RecordedKvCopies& copies, const std::vector<CopyRange>& ranges) {
    const cudaGraphExec_t graph = recording_.executable;
    for (size_t i = 0; i < copies.nodes.size(); ++i) {
      const CopyRange wanted = i < ranges.size() ? ranges[i] : CopyRange();
      if (wanted == copies.ranges[i]) continue;
      const bool was_on = copies.ranges[i] != CopyRange();
      const bool on = wanted != CopyRange();
      if (on) backend_.prefetcher()->set_range(graph, copies, i, wanted);
      if (on != was_on) cuda_check(cudaGraphNodeSetEnabled(graph, copies.nodes[i], on ? 1 : 0));
      copies.ranges[i] = wanted;
    }
  }

  void switch_spare_off(const RecordedKvCopies& copies) const {
    for (size_t i = 0; i < copies.nodes.size(); ++i) {
      if (copies.ranges[i] != CopyRange()) continue;
      cuda_check(cudaGraphNodeSetEnabled(recording_.executable, copies.nodes[i], 0));
    }
  }

  // Whichever of them the pass reads.
  void give_inputs_a_place() {
    const auto rows = static_cast<size_t>(rows_);
    backend_.upload(CudaBackend::kIds, std::span<const int32_t>(std::vector<int32_t>(rows)));
    backend_.upload(CudaBackend::kPositions, std::span<const int32_t>(std::vector<int32_t>(rows)));
    backend_.upload(CudaBackend::kKvRows,
                    std::span<const cuda::KvRow>(std::vector<cuda::KvRow>(rows)));
    backend_.upload(CudaBackend::kDraws,
                    std::span<const DrawParams>(std::vector<DrawParams>(rows)));
    upload_logit_rows();
  }

  // Every row's logits, in order: a longer pass has others in the same place.
  void upload_logit_rows() {
    std::vector<int32_t> rows(static_cast<size_t>(rows_));
    std::iota(rows.begin(), rows.end(), 0);
    backend_.upload(CudaBackend::kRows, std::span<const int32_t>(rows));
  }

  void record_choice(const CudaBackend::StepState& state) {
    cuda::launch_advance({.logits = logits_.f32(),
                          .draws = backend_.slot<DrawParams>(CudaBackend::kDraws),
                          .best = state.best,
                          .ids = backend_.slot<int32_t>(CudaBackend::kIds),
                          .positions = backend_.slot<int32_t>(CudaBackend::kPositions),
                          .rows = backend_.slot<cuda::KvRow>(CudaBackend::kKvRows),
                          .history = history_,
                          .step = state.step,
                          .m = rows_,
                          .vocabulary = logits_.dim(1)},
                         backend_.stream());
  }

  cudaEvent_t event(int64_t step) const {
    return finished_events_[static_cast<size_t>(step) % finished_events_.size()];
  }

  OpContext& ctx_;
  CudaBackend& backend_;
  const int64_t rows_;
  TokenChoice choice_ = TokenChoice::kHost;  // as of the last inputs
  Tensor logits_;
  const float* host_logits_ = nullptr;
  uint64_t generation_ = 0;
  uint64_t inputs_epoch_ = 0;
  int32_t* history_ = nullptr;
  CudaBackend::Recording recording_;
  int64_t launched_ = 0;  // as the device counts steps
  int64_t finished_ = 0;
  std::array<cudaEvent_t, 2 * kInFlight> finished_events_{};
  cudaEvent_t begun_ = nullptr;
  cudaEvent_t from_ = nullptr;
};

}  // namespace

std::unique_ptr<DecodeGraph> record_decode_graph(OpContext& ctx, int64_t rows,
                                                 const std::function<Tensor()>& forward) {
  require(ctx.cuda != nullptr, "a decode graph without a CUDA backend");
  return std::make_unique<CudaDecodeGraph>(ctx, rows, forward);
}

}  // namespace dak
