// The single measurements of probe_cuda. CUDA builds only.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>
#include <optional>

#include "kernels/device_buffer.h"
#include "kernels/kernel_kind.h"

namespace dak {

// Readable and writable by the GPU that is probed.
struct RemoteMemory {
  std::byte* data = nullptr;
  int64_t size_bytes = 0;
};

// Memory of another GPU, opened to the one that is probed.
class PeerMemory {
 public:
  PeerMemory(int ordinal, int peer, int64_t size_bytes);
  ~PeerMemory();
  PeerMemory(const PeerMemory&) = delete;
  PeerMemory& operator=(const PeerMemory&) = delete;

  RemoteMemory bytes() const { return {buffer_.as(), buffer_.size_bytes()}; }

 private:
  int ordinal_;
  int peer_;
  bool opened_ = false;  // by this: a tier that was open before stays open
  DeviceBuffer buffer_;
};

// How each reader keeps its share of a window in flight.
struct ChunkShape {
  int chunk_bytes = 0;
  int chunks_in_flight = 0;
};

struct LoadCase {
  RemoteMemory remote;
  int readers = 0;        // 0: local alone
  ChunkShape shape = {};  // of the readers
  bool local = true;      // the other SMs read local memory
};

struct LoadRates {
  double local_bytes_per_s = 0;
  double remote_bytes_per_s = 0;
  double round_trip_us = 0;  // 0: nothing arrived
};

class ProbeRuns {
 public:
  // Takes a quarter of the GPU's free memory, 1 to 8 GiB, filled with random numbers, and brings up
  // its clocks.
  explicit ProbeRuns(int ordinal);
  ~ProbeRuns();
  ProbeRuns(const ProbeRuns&) = delete;
  ProbeRuns& operator=(const ProbeRuns&) = delete;

  int sm_count() const { return sm_count_; }

  // nullopt where no chunk fits: too small a share of a reader, or more than it can hold.
  std::optional<ChunkShape> shape_of(int64_t window_bytes, int readers) const;
  LoadRates load(const LoadCase& run);

  double pass(RemoteMemory memory);  // bytes per second, as measure_cuda_bandwidth has the host's
  double copy_in(RemoteMemory memory);
  double copy_out(RemoteMemory memory);
  double write(RemoteMemory memory);
  // Of 2 KiB, one of them in flight for each of eight readers, local memory idle.
  double idle_round_trip_us(RemoteMemory memory);
  // Of one kernel among many in a graph.
  double launch_us(bool overlap);

 private:
  template <typename Work>
  double least_seconds(const Work& enqueue);
  double copy(std::byte* target, const std::byte* source, int64_t size_bytes);

  KernelKind kernels_;
  int sm_count_ = 0;
  DeviceBuffer local_;
  DeviceBuffer counts_;
  cudaStream_t stream_ = nullptr;
  cudaEvent_t begin_ = nullptr;
  cudaEvent_t end_ = nullptr;
};

}  // namespace dak
