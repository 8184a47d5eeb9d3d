#include "ops/decode_graph.h"

#include <array>

#include "base/error.h"
#include "ops/cuda/backend.h"
#include "ops/cuda/kernels.h"
#include "ops/cuda/state.h"

namespace dak {
namespace {

static_assert(DecodeGraph::kInFlight <= cuda::kTokenHistory);

class CudaDecodeGraph final : public DecodeGraph {
 public:
  CudaDecodeGraph(OpContext& ctx, const std::function<Tensor()>& forward)
      : ctx_(ctx), backend_(*ctx.cuda) {
    backend_.enter();
    for (cudaEvent_t& event : finished_events_) cuda_check(cudaEventCreate(&event));
    cuda_check(cudaEventCreate(&begun_));
    const Tensor logits = forward();
    rows_ = logits.dim(0);
    const CudaBackend::StepState state = backend_.step_state(rows_);
    generation_ = backend_.generation();
    history_ = state.history;
    graph_ = backend_.record([&] {
      ctx_.traffic = {};
      forward();
      cuda::launch_advance({.logits = logits.f32(),
                            .best = state.best,
                            .ids = backend_.slot<int32_t>(CudaBackend::kIds),
                            .positions = backend_.slot<int32_t>(CudaBackend::kPositions),
                            .rows = backend_.slot<cuda::KvRow>(CudaBackend::kKvRows),
                            .history = state.history,
                            .step = state.step,
                            .m = rows_,
                            .vocabulary = logits.dim(1)},
                           backend_.stream());
    });
    require(!stale(), "recording a graph moved its buffers");
    uint32_t step = 0;
    cuda_check(cudaMemcpy(&step, state.step, sizeof(step), cudaMemcpyDeviceToHost));
    launched_ = finished_ = step;
  }
  ~CudaDecodeGraph() override {
    cudaStreamSynchronize(backend_.stream());
    if (graph_ != nullptr) cudaGraphExecDestroy(graph_);
    for (cudaEvent_t event : finished_events_) cudaEventDestroy(event);
    cudaEventDestroy(begun_);
  }
  CudaDecodeGraph(const CudaDecodeGraph&) = delete;
  CudaDecodeGraph& operator=(const CudaDecodeGraph&) = delete;

  void set_inputs(std::span<const int32_t> tokens, std::span<const int32_t> positions,
                  const AttentionConfig& config, std::span<const KvSequence> sequences) override {
    require(launched_ == finished_ && std::ssize(tokens) == rows_,
            "decode graph: inputs while steps are in flight, or of another batch");
    cuda::set_inputs(ctx_, tokens, positions, config, sequences);
    inputs_epoch_ = backend_.input_epoch();
  }
  bool lost_inputs() const override { return inputs_epoch_ != backend_.input_epoch(); }
  bool stale() const override { return generation_ != backend_.generation(); }

  void set_pages(const AttentionConfig& config, std::span<const KvSequence> sequences) override {
    cuda::refresh_kv_pages(ctx_, config, sequences);
  }

  void launch() override {
    require(!stale() && !lost_inputs(), "decode graph launched without its buffers or inputs");
    require(launched_ - finished_ < kInFlight, "decode graph: too many steps in flight");
    backend_.enter();
    if (launched_ == finished_) {
      cuda_check(cudaEventRecord(begun_, backend_.stream()));
      from_ = begun_;
    }
    if (backend_.prefetcher() != nullptr) backend_.prefetcher()->prepare_launch();
    cuda_check(cudaGraphLaunch(graph_, backend_.stream()));
    cuda_check(cudaEventRecord(event(launched_), backend_.stream()));
    ++launched_;
    backend_.forget_uploads({CudaBackend::kIds, CudaBackend::kPositions, CudaBackend::kKvRows});
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
    const std::span tokens(history_ + slot * rows_, static_cast<size_t>(rows_));
    for (const int32_t token : tokens) {
      if (token < 0)
        throw Error(ErrorCode::kInternal, {.where = "decode",
                                           .field = "logits",
                                           .value = {},
                                           .problem = "every logit is NaN or -inf",
                                           .fix = "check the weights with "
                                                  "--check-weights"});
    }
    ++finished_;
    return {.tokens = tokens, .seconds = milliseconds * 1e-3};
  }

 private:
  cudaEvent_t event(int64_t step) const {
    return finished_events_[static_cast<size_t>(step) % finished_events_.size()];
  }

  OpContext& ctx_;
  CudaBackend& backend_;
  int64_t rows_ = 0;
  uint64_t generation_ = 0;
  uint64_t inputs_epoch_ = 0;
  const int32_t* history_ = nullptr;
  cudaGraphExec_t graph_ = nullptr;
  int64_t launched_ = 0;  // as the device counts steps
  int64_t finished_ = 0;
  std::array<cudaEvent_t, 2 * kInFlight> finished_events_{};
  cudaEvent_t begun_ = nullptr;
  cudaEvent_t from_ = nullptr;
};

}  // namespace

std::unique_ptr<DecodeGraph> record_decode_graph(OpContext& ctx,
                                                 const std::function<Tensor()>& forward) {
  require(ctx.cuda != nullptr, "a decode graph without a CUDA backend");
  return std::make_unique<CudaDecodeGraph>(ctx, forward);
}

}  // namespace dak
