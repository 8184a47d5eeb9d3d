#include "ops/page_mover.h"

#include <array>

#include "base/error.h"
#include "kernels/cuda_check.h"
#include "ops/cuda/state.h"

namespace dak {
namespace {

class CudaPageMover final : public PageMover {
 public:
  explicit CudaPageMover(CudaBackend& backend) : backend_(backend) {
    backend_.enter();
    cuda_check(cudaStreamCreateWithFlags(&copies_, cudaStreamNonBlocking));
    for (cudaEvent_t& event : marks_) make_event(event);
    make_event(steps_);
    make_event(copied_);
  }
  ~CudaPageMover() override {
    cudaStreamSynchronize(copies_);
    for (cudaEvent_t event : marks_) cudaEventDestroy(event);
    cudaEventDestroy(steps_);
    cudaEventDestroy(copied_);
    cudaStreamDestroy(copies_);
  }
  CudaPageMover(const CudaPageMover&) = delete;
  CudaPageMover& operator=(const CudaPageMover&) = delete;

  void copy(std::byte* to, const std::byte* from, int64_t size_bytes) override {
    if (!batch_open_) {
      backend_.enter();
      cuda_check(cudaEventRecord(steps_, backend_.stream()));
      cuda_check(cudaStreamWaitEvent(copies_, steps_));
      batch_open_ = true;
    }
    cuda_check(
        cudaMemcpyAsync(to, from, static_cast<size_t>(size_bytes), cudaMemcpyDefault, copies_));
  }

  int64_t mark() override {
    backend_.enter();
    batch_open_ = false;
    if (marked_ - passed_ == kMarks) {  // its event is needed again
      cuda_check(cudaEventSynchronize(event_of(passed_ + 1)));
      ++passed_;
    }
    ++marked_;
    cuda_check(cudaEventRecord(event_of(marked_), copies_));
    return marked_;
  }

  int64_t passed() override {
    while (passed_ < marked_) {
      const cudaError_t status = cudaEventQuery(event_of(passed_ + 1));
      if (status == cudaErrorNotReady) break;
      cuda_check(status);
      ++passed_;
    }
    return passed_;
  }

  void hold_steps() override {
    backend_.enter();
    batch_open_ = false;
    cuda_check(cudaEventRecord(copied_, copies_));
    cuda_check(cudaStreamWaitEvent(backend_.stream(), copied_));
  }

  void wait() override {
    backend_.enter();
    batch_open_ = false;
    cuda_check(cudaStreamSynchronize(copies_));
  }

 private:
  static constexpr int64_t kMarks = 64;

  static void make_event(cudaEvent_t& event) {
    cuda_check(cudaEventCreateWithFlags(&event, cudaEventDisableTiming));
  }
  cudaEvent_t event_of(int64_t mark) const { return marks_[static_cast<size_t>(mark % kMarks)]; }

  CudaBackend& backend_;
  cudaStream_t copies_ = nullptr;
  std::array<cudaEvent_t, kMarks> marks_{};
  int64_t marked_ = 0;
  int64_t passed_ = 0;
  bool batch_open_ = false;       // its copies wait for the steps before it
  cudaEvent_t steps_ = nullptr;   // where the steps were when a batch began
  cudaEvent_t copied_ = nullptr;  // where the copies were when steps were held
};

}  // namespace

std::unique_ptr<PageMover> make_cuda_page_mover(CudaBackend& backend) {
  return std::make_unique<CudaPageMover>(backend);
}

}  // namespace dak
