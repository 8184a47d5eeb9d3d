#include "hardware/cuda_probe_runs.h"

#include <algorithm>

#include "kernels/cuda_check.h"
#include "kernels/random_fill.h"
#include "kernels/tier_load.h"
#include "kernels/tier_reader.h"
#include "memory/weight_layout.h"

namespace dak {
namespace {

// Of the GPU's memory: so much more than an L2 (60 MB on an H200) that its hits do not show, 6 % of
// 1 GiB and 1 % of 8.
constexpr int64_t kMostLocalBytes = int64_t{8} << 30;
constexpr int64_t kLeastLocalBytes = int64_t{1} << 30;

int64_t local_region_bytes() {
  size_t free_bytes = 0;
  size_t total_bytes = 0;
  cuda_check(cudaMemGetInfo(&free_bytes, &total_bytes));
  const int64_t part = static_cast<int64_t>(free_bytes) / 4 / kLeastLocalBytes * kLeastLocalBytes;
  return std::clamp(part, kLeastLocalBytes, kMostLocalBytes);
}

constexpr int64_t kLoadNs = 10'000'000;
constexpr int64_t kWarmUpNs = 60'000'000;
constexpr int kRepeats = 4;
constexpr int kPassReaders = 16;
constexpr int kLaunches = 500;

constexpr int kLeastChunk = 1024;
constexpr int kUsualChunk = kChunkBytes;  // of the matmul's readers
constexpr int kLargeChunk = 16384;

}  // namespace

PeerMemory::PeerMemory(int ordinal, int peer, int64_t size_bytes) : ordinal_(ordinal), peer_(peer) {
  cuda_check(cudaSetDevice(peer));
  buffer_ = DeviceBuffer(size_bytes);
  random_fill(buffer_.as(), {.seed = 2, .count = size_bytes / 2}, nullptr);
  cuda_check(cudaDeviceSynchronize());
  cuda_check(cudaSetDevice(ordinal));
  const cudaError_t status = cudaDeviceEnablePeerAccess(peer, 0);
  opened_ = status != cudaErrorPeerAccessAlreadyEnabled;
  if (opened_) {
    cuda_check(status);
  } else {
    cudaGetLastError();
  }
}

PeerMemory::~PeerMemory() {
  cudaSetDevice(ordinal_);
  if (opened_) cudaDeviceDisablePeerAccess(peer_);
  cudaSetDevice(peer_);
  buffer_ = {};
  cudaSetDevice(ordinal_);
  cudaGetLastError();
}

ProbeRuns::ProbeRuns(int ordinal)
    : kernels_(choose_kernels(KernelKind::kAuto, supported_kernels(ordinal))) {
  cuda_check(cudaSetDevice(ordinal));
  cuda_check(cudaDeviceGetAttribute(&sm_count_, cudaDevAttrMultiProcessorCount, ordinal));
  local_ = DeviceBuffer(local_region_bytes());
  counts_ = DeviceBuffer(sizeof(TierLoadCounts));
  random_fill(local_.as(), {.seed = 1, .count = local_.size_bytes() / 2}, nullptr);
  cuda_check(cudaDeviceSynchronize());
  cuda_check(cudaStreamCreate(&stream_));
  cuda_check(cudaEventCreate(&begin_));
  cuda_check(cudaEventCreate(&end_));
  const TierLoad warm_up{.local = local_.as(),
                         .local_bytes = local_.size_bytes(),
                         .thread_blocks = sm_count_,
                         .duration_ns = kWarmUpNs,
                         .counts = counts_.as<TierLoadCounts>()};
  load_tiers(warm_up, kernels_, stream_);
}

ProbeRuns::~ProbeRuns() {
  cudaEventDestroy(end_);
  cudaEventDestroy(begin_);
  cudaStreamDestroy(stream_);
}

std::optional<ChunkShape> ProbeRuns::shape_of(int64_t window_bytes, int readers) const {
  const int64_t share = window_bytes / readers;
  if (kernels_ == KernelKind::kPlain) {
    const int64_t chunk = share / kPlainLoadChunks;
    if (chunk < kLeastChunk || share > kMostPlainLoadSharedBytes) return std::nullopt;
    return ChunkShape{static_cast<int>(chunk), kPlainLoadChunks};
  }
  if (share > kMostLoadSharedBytes || share < 2 * kLeastChunk) return std::nullopt;
  // At least two, so that one is under way while the other is asked for again.
  const int64_t chunk =
      share >= 4 * kLargeChunk ? kLargeChunk : std::min<int64_t>(kUsualChunk, share / 2);
  return ChunkShape{static_cast<int>(chunk), static_cast<int>(share / chunk)};
}

LoadRates ProbeRuns::load(const LoadCase& run) {
  const TierLoad load{.local = local_.as(),
                      .local_bytes = local_.size_bytes(),
                      .remote = run.remote.data,
                      .remote_bytes = run.remote.size_bytes,
                      .thread_blocks = run.local ? sm_count_ : run.readers,
                      .remote_blocks = run.readers,
                      .remote_chunk_bytes = run.readers > 0 ? run.shape.chunk_bytes : kUsualChunk,
                      .remote_chunks_in_flight = std::max(1, run.shape.chunks_in_flight),
                      .duration_ns = kLoadNs,
                      .counts = counts_.as<TierLoadCounts>()};
  TierLoadCounts counts{};
  cuda_check(cudaMemsetAsync(counts_.as(), 0, sizeof(counts), stream_));
  load_tiers(load, kernels_, stream_);
  cuda_check(
      cudaMemcpyAsync(&counts, counts_.as(), sizeof(counts), cudaMemcpyDeviceToHost, stream_));
  cuda_check(cudaStreamSynchronize(stream_));
  constexpr double kSeconds = static_cast<double>(kLoadNs) * 1e-9;
  LoadRates rates{.local_bytes_per_s = static_cast<double>(counts.local_bytes) / kSeconds,
                  .remote_bytes_per_s = static_cast<double>(counts.remote_bytes) / kSeconds};
  if (counts.timed_chunks > 0 && counts.clock_time_ns > 0) {
    const double cycles_per_us =
        static_cast<double>(counts.clock_cycles) / static_cast<double>(counts.clock_time_ns) * 1e3;
    rates.round_trip_us = static_cast<double>(counts.delay_cycles) /
                          static_cast<double>(counts.timed_chunks) / cycles_per_us;
  }
  return rates;
}

template <typename Work>
double ProbeRuns::least_seconds(const Work& enqueue) {
  float best_ms = 1e30f;
  for (int i = 0; i < kRepeats; ++i) {
    cuda_check(cudaEventRecord(begin_, stream_));
    enqueue();
    cuda_check(cudaEventRecord(end_, stream_));
    cuda_check(cudaEventSynchronize(end_));
    float ms = 0;
    cuda_check(cudaEventElapsedTime(&ms, begin_, end_));
    best_ms = std::min(best_ms, ms);
  }
  return static_cast<double>(best_ms) * 1e-3;
}

double ProbeRuns::pass(RemoteMemory memory) {
  return measure_read_bandwidth({.data = memory.data,
                                 .size_bytes = memory.size_bytes,
                                 .thread_blocks = kPassReaders,
                                 .kernels = kernels_},
                                kRepeats);
}

double ProbeRuns::copy(std::byte* target, const std::byte* source, int64_t size_bytes) {
  const double seconds = least_seconds([&] {
    cuda_check(cudaMemcpyAsync(target, source, static_cast<size_t>(size_bytes), cudaMemcpyDefault,
                               stream_));
  });
  return static_cast<double>(size_bytes) / seconds;
}

double ProbeRuns::copy_in(RemoteMemory memory) {
  return copy(local_.as(), memory.data, memory.size_bytes);
}

double ProbeRuns::copy_out(RemoteMemory memory) {
  return copy(memory.data, local_.as(), memory.size_bytes);
}

double ProbeRuns::write(RemoteMemory memory) {
  const double seconds =
      least_seconds([&] { write_tier(memory.data, memory.size_bytes, kPassReaders * 2, stream_); });
  return static_cast<double>(memory.size_bytes) / seconds;
}

double ProbeRuns::idle_round_trip_us(RemoteMemory memory) {
  constexpr ChunkShape kOne{.chunk_bytes = 2048, .chunks_in_flight = 1};
  return load({.remote = memory, .readers = 8, .shape = kOne, .local = false}).round_trip_us;
}

double ProbeRuns::launch_us(bool overlap) {
  cudaGraph_t graph = nullptr;
  cudaGraphExec_t executable = nullptr;
  cuda_check(cudaStreamBeginCapture(stream_, cudaStreamCaptureModeThreadLocal));
  for (int i = 0; i < kLaunches; ++i) launch_nothing(overlap, stream_);
  cuda_check(cudaStreamEndCapture(stream_, &graph));
  cuda_check(cudaGraphInstantiate(&executable, graph, 0));
  const double seconds = least_seconds([&] { cuda_check(cudaGraphLaunch(executable, stream_)); });
  cuda_check(cudaGraphExecDestroy(executable));
  cuda_check(cudaGraphDestroy(graph));
  return seconds / kLaunches * 1e6;
}

}  // namespace dak
