// Copies of KV pages from tier to tier, made beside the steps that read pages. No CUDA types here;
// a build without CUDA has make_cuda_page_mover too: there it throws kUnsupported.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

namespace dak {

class CudaBackend;

// A step is whatever the backend's operations have enqueued. Copies are made in the order in which
// they are asked for. After copies comes `mark` or `hold_steps`, before any other step.
class PageMover {
 public:
  virtual ~PageMover() = default;

  // Enqueues a copy. It begins when the steps enqueued so far are over: it takes what they wrote,
  // and overwrites nothing that they read.
  virtual void copy(std::byte* to, const std::byte* from, int64_t size_bytes) = 0;
  // Ends a batch of copies; its number, one more than the last.
  virtual int64_t mark() = 0;
  // The last batch that has been made, with all before it; does not wait.
  virtual int64_t passed() = 0;
  // Steps enqueued from now on begin when every copy enqueued so far has been made.
  virtual void hold_steps() = 0;
  // Returns when every copy has been made.
  virtual void wait() = 0;
};

// By the GPU's copy engines, on a stream of its own. The backend outlives it.
std::unique_ptr<PageMover> make_cuda_page_mover(CudaBackend& backend);

}  // namespace dak
