#include "ops/operation_timer.h"

#include <algorithm>

#include "ops/cuda/backend.h"
#include "ops/cuda/state.h"

namespace dak::cuda {
namespace {

class CudaTimer final : public OperationTimer {
 public:
  explicit CudaTimer(CudaBackend& backend) : backend_(backend) {}
  ~CudaTimer() override {
    for (cudaEvent_t event : events_) cudaEventDestroy(event);
  }
  CudaTimer(const CudaTimer&) = delete;
  CudaTimer& operator=(const CudaTimer&) = delete;

  void begin() override { record(kStart); }

  std::vector<Seconds> finish() override {
    cuda_check(cudaStreamSynchronize(backend_.stream()));
    std::vector<Seconds> all = kinds_;
    for (size_t i = 1; i < marks_.size(); ++i) {
      if (marks_[i] == kStart) continue;
      float milliseconds = 0;
      cuda_check(cudaEventElapsedTime(&milliseconds, events_[i - 1], events_[i]));
      all[marks_[i]].seconds += static_cast<double>(milliseconds) * 1e-3;
      all[marks_[i]].count += 1;
    }
    marks_.clear();
    return all;
  }

 private:
  static constexpr size_t kStart = SIZE_MAX;

  void mark(size_t kind) override { record(kind); }

  void record(size_t kind) {
    backend_.enter();  // events are of the GPU that is current when they are made
    if (marks_.size() == events_.size()) {
      events_.push_back(nullptr);
      cuda_check(cudaEventCreate(&events_.back()));
    }
    cuda_check(cudaEventRecord(events_[marks_.size()], backend_.stream()));
    marks_.push_back(kind);
  }

  CudaBackend& backend_;
  std::vector<cudaEvent_t> events_;  // kept from pass to pass
  std::vector<size_t> marks_;        // what ended at each; kStart: a pass began
};

}  // namespace

std::unique_ptr<OperationTimer> make_operation_timer(OpContext& ctx) {
  return std::make_unique<CudaTimer>(*ctx.cuda);
}

}  // namespace dak::cuda
