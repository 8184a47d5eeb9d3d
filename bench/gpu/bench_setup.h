// What every case of dak_bench_split_matmul shares: arenas full of random weights in both tiers,
// probed bandwidths, and graphs of matmuls over rotating weights.
#pragma once

#include <cuda_runtime_api.h>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "kernels/device_buffer.h"
#include "kernels/split_matmul.h"
#include "memory/tiered_tensor.h"

namespace dak::bench {

struct Machine {
  std::string gpu;
  int sm_count = 0;
  std::string remote;                     // "host", "peer" or "peer+host"
  double local_bytes_per_s = 0;           // HBM alone, bulk copies where the GPU has them
  std::vector<double> link_bytes_per_s;   // of tier 1 and, if there is one, 2: alone, likewise
  double remote_bytes_per_s = 0;          // their sum
  KernelKind kernels = KernelKind::kTma;  // that are measured
};

// The same random bytes in HBM and in each remote tier; every weight is a view of them.
class Arenas {
 public:
  Arenas(const std::string& remote, int64_t size_bytes);
  ~Arenas();
  Arenas(const Arenas&) = delete;
  Arenas& operator=(const Arenas&) = delete;

  int64_t size_bytes() const { return local_.size_bytes(); }
  std::byte* local() const { return local_.as(); }
  size_t links() const { return remotes_.size(); }
  std::byte* remote(size_t link = 0) const { return remotes_[link].data; }

 private:
  struct Remote {
    std::byte* data = nullptr;
    bool peer = false;
  };
  DeviceBuffer local_;
  std::vector<Remote> remotes_;
};

// `kernels`: not kAuto.
Machine probe(const Arenas& arenas, const std::string& remote, KernelKind kernels);

struct Shape {
  std::string name;
  int64_t rows;
  int64_t cols;
};

// Weights laid one behind another in the arenas, starting over when those are full; `ratio` of
// the row blocks of each, spread evenly, in remote tiers in proportion to `rates`, from tier 1 on.
std::vector<TieredTensor> place_weights(const Arenas& arenas, const std::vector<Shape>& shapes,
                                        double ratio, const std::vector<double>& rates = {1});

// Buffers for any shape and batch, and the weights of one case on the device.
class Chain {
 public:
  Chain(const std::vector<TieredTensor>& weights, int64_t batch, const Machine& machine,
        const LinkController& links, cudaStream_t stream);
  ~Chain();
  Chain(const Chain&) = delete;
  Chain& operator=(const Chain&) = delete;

  size_t size() const { return weights_.size(); }
  // Enqueues matmul `index` (modulo size).
  void enqueue(size_t index, bool overlap);
  // Median milliseconds of one matmul in a replayed graph of `count` of them.
  double time_in_graph(size_t count, bool overlap, int repeats);
  // Median milliseconds of one matmul alone between two events.
  double time_alone(int repeats);
  // Captures a graph of `count` matmuls for replay(); replaces the previous one.
  void capture(size_t count, bool overlap);
  void replay();

  int64_t bytes(TierIndex tier) const;  // over all weights
  std::vector<uint16_t> output(size_t index);
  // Worst relative error of a few outputs of matmul `index` against fp64 on the CPU.
  double sampled_error(size_t index, const std::vector<uint16_t>& out) const;

 private:
  const std::vector<TieredTensor> tensors_;
  const int64_t batch_;
  const LinkController& links_;
  const cudaStream_t stream_;
  std::vector<std::unique_ptr<SplitWeight>> weights_;
  SplitWorkspace workspace_;
  DeviceBuffer x_;
  DeviceBuffer out_;
  int64_t x_stride_ = 0;
  int64_t out_stride_ = 0;
  cudaGraphExec_t graph_ = nullptr;
};

double median(std::vector<double> values);

}  // namespace dak::bench
