#include "ops/cuda/state.h"

#include <algorithm>
#include <cstring>

#include "base/error.h"
#include "kernels/cuda_check.h"

namespace dak {
namespace {

constexpr int64_t kRingBytes = int64_t{4} << 20;
constexpr int64_t kAlignment = 256;

int64_t round_up(int64_t value) { return (value + kAlignment - 1) / kAlignment * kAlignment; }

// Before any member allocates: they take the current device's memory.
int chosen(int ordinal) {
  cuda_check(cudaSetDevice(ordinal));
  if (!has_sm90(ordinal)) {
    throw_unsupported("--device", {}, fmt::format("cuda:{}", ordinal),
                      "is not of compute capability 9.0", "use an H100 or H200, or --device cpu");
  }
  return ordinal;
}

}  // namespace

void CudaBackendDeleter::operator()(CudaBackend* backend) const { delete backend; }

CudaBackendPtr make_cuda_backend(int ordinal) { return CudaBackendPtr(new CudaBackend(ordinal)); }

CudaBackend::Pinned CudaBackend::make_pinned(int64_t size_bytes) {
  void* memory = nullptr;
  cuda_check(cudaHostAlloc(&memory, static_cast<size_t>(size_bytes), cudaHostAllocDefault));
  Pinned pinned;
  pinned.memory.reset(memory);
  pinned.size_bytes = size_bytes;
  return pinned;
}

CudaBackend::CudaBackend(int ordinal) : ordinal_(chosen(ordinal)), ring_(make_pinned(kRingBytes)) {
  cuda_check(cudaDeviceGetAttribute(&sm_count_, cudaDevAttrMultiProcessorCount, ordinal_));
  cuda_check(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking));
}

CudaBackend::~CudaBackend() {
  cudaStreamSynchronize(stream_);
  cudaStreamDestroy(stream_);
}

const SplitWeight& CudaBackend::split(const TieredTensor& weight) {
  std::unique_ptr<SplitWeight>& found = weights_[weight.blocks.data()];
  if (!found) {
    if (weight.dtype == DType::kF32) {
      throw_unsupported(weight.name, "dtype", "f32", "the CUDA backend multiplies bf16 and f16",
                        "use --dtype bf16 or --device cpu");
    }
    // Growing the workspace replaces memory that enqueued kernels may still use.
    cuda_check(cudaStreamSynchronize(stream_));
    auto made = std::make_unique<SplitWeight>(weight, sm_count_);
    workspace_.reserve(*made, kMaxSplitBatch);
    cuda_check(cudaDeviceSynchronize());
    found = std::move(made);
  }
  return *found;
}

// A piece of the pinned ring. Coming round to its start waits for the stream, so that no piece is
// written to while a copy from it is pending.
std::byte* CudaBackend::pinned_for(int64_t size_bytes) {
  const int64_t need = round_up(size_bytes);
  if (ring_.used + need > ring_.size_bytes) {
    cuda_check(cudaStreamSynchronize(stream_));
    if (need > ring_.size_bytes) ring_ = make_pinned(2 * need);
    ring_.used = 0;
  }
  std::byte* piece = static_cast<std::byte*>(ring_.memory.get()) + ring_.used;
  ring_.used += need;
  return piece;
}

const std::byte* CudaBackend::upload_bytes(Slot slot, std::span<const std::byte> bytes) {
  Uploaded& uploaded = uploads_[slot];
  if (!std::ranges::equal(uploaded.host, bytes)) {
    const auto size = static_cast<int64_t>(bytes.size());
    if (size > uploaded.device.size_bytes()) {
      uploaded.host.clear();
      cuda_check(cudaStreamSynchronize(stream_));  // kernels may still read the old one
      uploaded.device = DeviceBuffer(2 * round_up(size));
    }
    std::byte* staged = pinned_for(size);
    std::memcpy(staged, bytes.data(), bytes.size());
    cuda_check(cudaMemcpyAsync(uploaded.device.as(), staged, bytes.size(), cudaMemcpyHostToDevice,
                               stream_));
    uploaded.host.assign(bytes.begin(), bytes.end());
  }
  return uploaded.device.as();
}

void* CudaBackend::scratch(int64_t size_bytes) {
  if (size_bytes > scratch_.size_bytes()) {
    cuda_check(cudaStreamSynchronize(stream_));
    scratch_ = DeviceBuffer();  // freed first: never both sizes at once
    scratch_ = DeviceBuffer(size_bytes);
  }
  return scratch_.as();
}

const float* CudaBackend::download(const float* values, int64_t count) {
  const int64_t bytes = count * static_cast<int64_t>(sizeof(float));
  if (bytes > back_.size_bytes) back_ = make_pinned(bytes);
  cuda_check(cudaMemcpyAsync(back_.memory.get(), values, static_cast<size_t>(bytes),
                             cudaMemcpyDeviceToHost, stream_));
  cuda_check(cudaStreamSynchronize(stream_));
  return static_cast<const float*>(back_.memory.get());
}

}  // namespace dak
