#include "ops/cuda/state.h"

#include <algorithm>
#include <cstring>

#include "base/error.h"
#include "base/math.h"
#include "kernels/cuda_check.h"
#include "ops/cuda/sampling.h"

namespace dak {
namespace {

constexpr int64_t kRingBytes = int64_t{4} << 20;
constexpr int64_t kAlignment = 256;

// Before any member allocates: they take the current device's memory.
int chosen(int ordinal) {
  cuda_check(cudaSetDevice(ordinal));
  return ordinal;
}

}  // namespace

void CudaBackendDeleter::operator()(CudaBackend* backend) const { delete backend; }

CudaBackendPtr make_cuda_backend(int ordinal, KernelKind kernels) {
  return CudaBackendPtr(new CudaBackend(ordinal, kernels));
}

void set_tier_bandwidths(CudaBackend& backend, std::span<const Tier> tiers) {
  ReaderCounts readers = most_readers();
  for (size_t i = 0; i < tiers.size(); ++i) readers[i] = readers_for(tiers[i].read_bytes_per_s);
  backend.set_readers(readers);
}

LinkStatus link_status(const CudaBackend& backend, TierIndex tier) {
  backend.enter();
  const LinkReading reading = backend.links().read(tier, backend.stream());
  if (backend.kernels() == KernelKind::kPlain) return {.read_bytes = reading.read_bytes};
  return {.window_bytes = reading.window_bytes,
          .fixed = reading.fixed,
          .delay_us = reading.delay_us,
          .min_delay_us = reading.min_delay_us,
          .read_bytes_per_s = reading.read_bytes_per_s,
          .read_bytes = reading.read_bytes};
}

void set_fixed_window(CudaBackend& backend, TierIndex tier, int64_t window_bytes) {
  if (backend.kernels() == KernelKind::kPlain) {
    throw_unsupported("--window", {}, std::to_string(window_bytes), "the plain kernels have none",
                      "omit it");
  }
  backend.enter();
  backend.links().set_fixed_window(tier, window_bytes);
}

void forget_weights(CudaBackend& backend) { backend.forget_weights(); }

void use_prefetch(CudaBackend& backend, std::span<const PrefetchStage> cycle,
                  std::span<std::byte* const> buffers) {
  backend.enter();
  backend.use_prefetch(cycle, buffers);
}

void use_uva(CudaBackend& backend, std::byte* memory, int64_t size_bytes) {
  backend.enter();
  backend.use_uva(memory, size_bytes);
}

void check_uva() { CublasLt::get(); }

CudaBackend::Pinned CudaBackend::make_pinned(int64_t size_bytes) {
  void* memory = nullptr;
  cuda_check(cudaHostAlloc(&memory, static_cast<size_t>(size_bytes), cudaHostAllocDefault));
  Pinned pinned;
  pinned.memory.reset(memory);
  pinned.size_bytes = size_bytes;
  return pinned;
}

CudaBackend::CudaBackend(int ordinal, KernelKind kernels)
    : ordinal_(chosen(ordinal)),
      kernels_(choose_kernels(kernels, supported_kernels(ordinal))),
      ring_(make_pinned(kRingBytes)) {
  cuda_check(cudaDeviceGetAttribute(&sm_count_, cudaDevAttrMultiProcessorCount, ordinal_));
  cuda_check(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking));
}

CudaBackend::~CudaBackend() {
  cudaStreamSynchronize(stream_);
  prefetcher_.reset();
  cudaStreamDestroy(stream_);
}

void CudaBackend::use_prefetch(std::span<const PrefetchStage> cycle,
                               std::span<std::byte* const> buffers) {
  require(weights_.empty() && wide_weights_.empty(),
          "mode prefetch chosen after the first product");
  if (!cycle.empty()) prefetcher_ = std::make_unique<Prefetcher>(cycle, buffers, stream_);
}

void CudaBackend::use_uva(std::byte* memory, int64_t size_bytes) {
  uva_ = std::make_unique<UvaMatmul>(memory, size_bytes, stream_);
}

UvaMatmul& CudaBackend::uva() const {
  require(uva_ != nullptr, "a row-major weight without mode uva");
  return *uva_;
}

void CudaBackend::forget_weights() {
  require(prefetcher_ == nullptr && uva_ == nullptr, "copies know the weights' places");
  enter();
  cuda_check(cudaStreamSynchronize(stream_));
  weights_.clear();
  gemm_sequence_.forget();
  wide_weights_.clear();
  block_tables_.clear();
  ++generation_;
}

const TieredTensor& CudaBackend::seen(const TieredTensor& weight) const {
  if (weight.dtype == DType::kF32) {
    throw_unsupported(weight.name, "dtype", "f32", "the CUDA backend multiplies bf16 and f16",
                      "use --dtype bf16 or --device cpu");
  }
  return prefetcher_ != nullptr ? prefetcher_->staged(weight) : weight;
}

const SplitWeight& CudaBackend::split(const TieredTensor& weight) {
  std::unique_ptr<SplitWeight>& found = weights_[weight.blocks.data()];
  if (!found) {
    const TieredTensor& tensor = seen(weight);
    // Growing the workspace replaces memory that enqueued kernels may still use.
    cuda_check(cudaStreamSynchronize(stream_));
    auto made = std::make_unique<SplitWeight>(tensor, sm_count_, readers_, kernels_);
    if (workspace_.reserve(*made, kMaxSplitBatch)) ++product_generations_[0];
    cuda_check(cudaDeviceSynchronize());
    found = std::move(made);
  }
  return *found;
}

const GemmWeight& CudaBackend::wide(const TieredTensor& weight) {
  std::unique_ptr<GemmWeight>& found = wide_weights_[weight.blocks.data()];
  if (!found) {
    const TieredTensor& tensor = seen(weight);
    cuda_check(cudaStreamSynchronize(stream_));
    auto made = std::make_unique<GemmWeight>(tensor);
    if (gemm_workspace_.reserve(*made, gemm_ring_bytes_)) ++product_generations_[1];
    cuda_check(cudaDeviceSynchronize());
    found = std::move(made);
  }
  return *found;
}

const std::byte* const* CudaBackend::block_table(const TieredTensor& weight) {
  DeviceBuffer& table = block_tables_[weight.blocks.data()];
  if (table.size_bytes() == 0) {
    std::vector<const std::byte*> blocks;
    for (const RowBlock& block : weight.blocks) blocks.push_back(block.data);
    const size_t bytes = blocks.size() * sizeof(blocks[0]);
    table = DeviceBuffer(static_cast<int64_t>(bytes));
    cuda_check(cudaMemcpy(table.as(), blocks.data(), bytes, cudaMemcpyHostToDevice));
  }
  return table.as<const std::byte*>();
}

bool CudaBackend::has_places(int64_t rows) const {
  const Places& places = places_[is_wide(rows) ? 1 : 0];
  return rows <= places.rows && places.generation == generation(rows);
}

void CudaBackend::set_has_places(int64_t rows) {
  places_[is_wide(rows) ? 1 : 0] = {.rows = rows, .generation = generation(rows)};
}

void CudaBackend::forget_uploads(std::initializer_list<Slot> slots) {
  for (const Slot slot : slots) uploads_[slot].host.clear();
}

void CudaBackend::widen_gemm_ring() {
  if (gemm_ring_bytes_ == kGemmAheadRingBytes) return;
  gemm_ring_bytes_ = kGemmAheadRingBytes;
  cuda_check(cudaStreamSynchronize(stream_));
  bool moved = false;
  for (const auto& [blocks, weight] : wide_weights_) {
    moved |= gemm_workspace_.reserve(*weight, gemm_ring_bytes_);
  }
  if (moved) ++product_generations_[1];
}

void CudaBackend::note_step(int64_t rows, const std::function<void()>& enqueue) {
  if (!is_wide(rows)) return enqueue();
  widen_gemm_ring();
  const cuda::GemmSequence::Listening listening(gemm_sequence_);
  enqueue();
}

CudaBackend::Recording CudaBackend::record(int64_t rows, const std::function<void()>& enqueue) {
  Recording recording;
  cudaGraph_t graph = nullptr;
  if (prefetcher_ != nullptr) prefetcher_->prepare_recording();
  cuda_check(cudaStreamBeginCapture(stream_, cudaStreamCaptureModeThreadLocal));
  recording_ = true;
  try {
    if (prefetcher_ != nullptr) prefetcher_->begin_recording();
    if (is_wide(rows)) {
      const cuda::GemmSequence::Following following(gemm_sequence_);
      enqueue();
      following.check_complete();
    } else {
      enqueue();
    }
    if (prefetcher_ != nullptr) prefetcher_->end_recording();
  } catch (...) {
    recording_ = false;
    if (prefetcher_ != nullptr) prefetcher_->finish_recording();
    cudaStreamEndCapture(stream_, &graph);
    if (graph != nullptr) cudaGraphDestroy(graph);
    throw;
  }
  recording_ = false;
  if (prefetcher_ != nullptr) recording.kv_copies = prefetcher_->finish_recording();
  cuda_check(cudaStreamEndCapture(stream_, &graph));
  const cudaError_t status = cudaGraphInstantiate(&recording.executable, graph, 0);
  if (status != cudaSuccess) cudaGraphDestroy(graph);
  cuda_check(status);
  recording.graph = graph;
  return recording;
}

CudaBackend::StepState CudaBackend::step_state(int64_t m) {
  const int64_t step_bytes = 8 * m + 8;
  const int64_t history_bytes = cuda::kTokenHistory * m * 4;
  if (step_bytes > step_.size_bytes() || history_bytes > history_.size_bytes) {
    require(!recording_, "the state of a step grows while a graph is recorded");
    cuda_check(cudaStreamSynchronize(stream_));
    step_ = DeviceBuffer(step_bytes);
    cuda_check(cudaMemset(step_.as(), 0, static_cast<size_t>(step_bytes)));
    cuda_check(cudaDeviceSynchronize());
    steps_launched_ = 0;
    history_ = make_pinned(history_bytes);
    ++generation_;
  }
  return {.best = step_.as<unsigned long long>() + 1,
          .step = step_.as<uint32_t>(),
          .history = static_cast<int32_t*>(history_.memory.get())};
}

// A piece of the pinned ring. Coming round to its start waits for the stream, so that no piece is
// written to while a copy from it is pending.
std::byte* CudaBackend::pinned_for(int64_t size_bytes) {
  const int64_t need = round_up(size_bytes, kAlignment);
  if (ring_.used + need > ring_.size_bytes) {
    cuda_check(cudaStreamSynchronize(stream_));
    if (need > ring_.size_bytes) ring_ = make_pinned(2 * need);
    ring_.used = 0;
  }
  std::byte* piece = static_cast<std::byte*>(ring_.memory.get()) + ring_.used;
  ring_.used += need;
  return piece;
}

std::byte* CudaBackend::upload_bytes(size_t slot, std::span<const std::byte> bytes) {
  Uploaded& uploaded = uploads_[slot];
  if (recording_) {
    require(std::ssize(bytes) <= uploaded.device.size_bytes(),
            "a graph is recorded before its inputs have a place");
    return uploaded.device.as();
  }
  if (!std::ranges::equal(uploaded.host, bytes)) {
    const auto size = static_cast<int64_t>(bytes.size());
    if (size > uploaded.device.size_bytes()) {
      uploaded.host.clear();
      cuda_check(cudaStreamSynchronize(stream_));  // kernels may still read the old one
      uploaded.device = DeviceBuffer(2 * round_up(size, kAlignment));
      if (slot < kKvPages) ++generation_;
    }
    std::byte* staged = pinned_for(size);
    std::memcpy(staged, bytes.data(), bytes.size());
    cuda_check(cudaMemcpyAsync(uploaded.device.as(), staged, bytes.size(), cudaMemcpyHostToDevice,
                               stream_));
    uploaded.host.assign(bytes.begin(), bytes.end());
    if (slot < kKvPages && slot != kFrequencies) ++input_epoch_;  // those are the model's
  }
  return uploaded.device.as();
}

void CudaBackend::reserve_slot(Slot slot, int64_t size_bytes) {
  Uploaded& uploaded = uploads_[slot];
  if (size_bytes <= uploaded.device.size_bytes()) return;
  require(!recording_, "an input's place grows while a graph is recorded");
  cuda_check(cudaStreamSynchronize(stream_));  // kernels may still read the old one
  uploaded.host.clear();
  uploaded.device = DeviceBuffer(round_up(size_bytes, kAlignment));
  ++generation_;
}

CudaBackend::Pieces CudaBackend::pieces(int64_t value_bytes, int64_t counters) {
  if (value_bytes > pieces_.size_bytes() || 4 * counters > piece_arrivals_.size_bytes()) {
    require(!recording_, "attention's pieces grow while a graph is recorded");
    cuda_check(cudaStreamSynchronize(stream_));
    ++generation_;
    const int64_t values = std::max(value_bytes, pieces_.size_bytes());
    const int64_t arrivals = std::max(4 * counters, piece_arrivals_.size_bytes());
    pieces_ = DeviceBuffer();  // freed first: never both sizes at once
    pieces_ = DeviceBuffer(values);
    piece_arrivals_ = DeviceBuffer(arrivals);
    cuda_check(cudaMemset(piece_arrivals_.as(), 0, static_cast<size_t>(arrivals)));
    cuda_check(cudaDeviceSynchronize());
  }
  return {.values = pieces_.as<float>(), .arrivals = piece_arrivals_.as<uint32_t>()};
}

CudaBackend::PrefillMemory CudaBackend::prefill_memory(int64_t ring_bytes, int64_t state_bytes,
                                                       int64_t counter_bytes) {
  const auto grow = [this](DeviceBuffer& buffer, int64_t size_bytes) {
    if (size_bytes <= buffer.size_bytes()) return false;
    require(!recording_, "attention's memory grows while a graph is recorded");
    cuda_check(cudaStreamSynchronize(stream_));
    buffer = DeviceBuffer();  // freed first: never both sizes at once
    buffer = DeviceBuffer(size_bytes);
    return true;
  };
  grow(prefill_ring_, ring_bytes);
  grow(prefill_states_, state_bytes);
  if (grow(prefill_counters_, counter_bytes)) {
    cuda_check(cudaMemset(prefill_counters_.as(), 0, static_cast<size_t>(counter_bytes)));
    cuda_check(cudaDeviceSynchronize());
  }
  return {.ring = prefill_ring_.as(),
          .states = prefill_states_.as<float>(),
          .counters = prefill_counters_.as()};
}

void* CudaBackend::scratch(int64_t size_bytes) {
  if (size_bytes > scratch_.size_bytes()) {
    cuda_check(cudaStreamSynchronize(stream_));
    ++generation_;
    scratch_ = DeviceBuffer();  // freed first: never both sizes at once
    scratch_ = DeviceBuffer(size_bytes);
  }
  return scratch_.as();
}

const float* CudaBackend::start_download(const float* values, int64_t count) {
  const int64_t bytes = count * static_cast<int64_t>(sizeof(float));
  if (bytes > back_.size_bytes) back_ = make_pinned(bytes);
  cuda_check(cudaMemcpyAsync(back_.memory.get(), values, static_cast<size_t>(bytes),
                             cudaMemcpyDeviceToHost, stream_));
  return static_cast<const float*>(back_.memory.get());
}

const float* CudaBackend::download(const float* values, int64_t count) {
  const float* back = start_download(values, count);
  cuda_check(cudaStreamSynchronize(stream_));
  return back;
}

}  // namespace dak
