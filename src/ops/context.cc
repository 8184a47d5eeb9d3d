#include "ops/context.h"

#include "base/error.h"

namespace dak {
namespace {

constexpr size_t kAlignment = 64;

}  // namespace

float* OpContext::scratch(size_t slot, int64_t count) {
  require(count >= 0, "scratch of a negative size");
  if (slot >= buffers_.size()) buffers_.resize(slot + 1);
  Buffer& buffer = buffers_[slot];
  if (buffer.data == nullptr || count > buffer.count) {
    buffer.storage = {};  // freed first: never both sizes at once
    buffer.storage.resize(static_cast<size_t>(count) * sizeof(float) + kAlignment);
    const auto address = reinterpret_cast<uintptr_t>(buffer.storage.data());
    const uintptr_t misaligned = address % kAlignment;
    buffer.data = reinterpret_cast<float*>(buffer.storage.data() +
                                           (misaligned == 0 ? 0 : kAlignment - misaligned));
    buffer.count = count;
  }
  return buffer.data;
}

}  // namespace dak
