#include "gpu/bench_setup.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <numeric>

#include "base/error.h"
#include "base/half.h"
#include "kernels/cuda_check.h"
#include "kernels/event_pair.h"
#include "kernels/random_fill.h"
#include "kernels/tier_reader.h"

namespace dak::bench {
namespace {

float milliseconds(cudaEvent_t begin, cudaEvent_t end) {
  float ms = 0;
  cuda_check(cudaEventSynchronize(end));
  cuda_check(cudaEventElapsedTime(&ms, begin, end));
  return ms;
}

}  // namespace

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

Arenas::Arenas(const std::string& remote, int64_t size_bytes) : local_(size_bytes) {
  random_fill(local_.as(), {.seed = 1, .count = size_bytes / 2}, nullptr);
  for (size_t begin = 0; begin <= remote.size();) {
    const size_t end = std::min(remote.find('+', begin), remote.size());
    const std::string name = remote.substr(begin, end - begin);
    begin = end + 1;
    if (name != "host" && name != "peer") {
      throw_invalid("--remote", {}, remote, "is not a tier", "use host, peer or peer+host");
    }
    Remote link{.data = nullptr, .peer = name == "peer"};
    if (link.peer) {
      int devices = 0;
      cuda_check(cudaGetDeviceCount(&devices));
      if (devices < 2) throw_invalid("--remote", "peer", {}, "this machine has one GPU");
      cuda_check(cudaDeviceEnablePeerAccess(1, 0));
      cuda_check(cudaSetDevice(1));
      cuda_check(cudaMalloc(reinterpret_cast<void**>(&link.data), static_cast<size_t>(size_bytes)));
      cuda_check(cudaSetDevice(0));
    } else {
      cuda_check(cudaHostAlloc(reinterpret_cast<void**>(&link.data),
                               static_cast<size_t>(size_bytes), cudaHostAllocDefault));
    }
    remotes_.push_back(link);
    cuda_check(
        cudaMemcpy(link.data, local_.as(), static_cast<size_t>(size_bytes), cudaMemcpyDefault));
  }
  cuda_check(cudaDeviceSynchronize());
}

Arenas::~Arenas() {
  for (const Remote& link : remotes_) {
    if (link.peer) {
      cudaFree(link.data);
    } else {
      cudaFreeHost(link.data);
    }
  }
}

Machine probe(const Arenas& arenas, const std::string& remote, KernelKind kernels) {
  cudaDeviceProp properties{};
  cuda_check(cudaGetDeviceProperties(&properties, 0));
  Machine machine{.gpu = properties.name,
                  .sm_count = properties.multiProcessorCount,
                  .remote = remote,
                  .link_bytes_per_s = std::vector<double>(arenas.links()),
                  .kernels = kernels};
  const KernelKind readers = choose_kernels(KernelKind::kAuto, supported_kernels(0));
  for (const int in_flight : {8, 12}) {
    machine.local_bytes_per_s = std::max(machine.local_bytes_per_s,
                                         measure_read_bandwidth({.data = arenas.local(),
                                                                 .size_bytes = arenas.size_bytes(),
                                                                 .thread_blocks = machine.sm_count,
                                                                 .chunks_in_flight = in_flight,
                                                                 .kernels = readers},
                                                                10));
  }
  for (size_t link = 0; link < arenas.links(); ++link) {
    double& rate = machine.link_bytes_per_s[link];
    for (const int in_flight : {2, 4, 8, 16}) {
      rate = std::max(rate, measure_read_bandwidth(
                                {.data = arenas.remote(link),
                                 .size_bytes = std::min<int64_t>(arenas.size_bytes(), 1 << 29),
                                 .thread_blocks = 16,
                                 .chunk_bytes = 8192,
                                 .chunks_in_flight = in_flight,
                                 .kernels = readers},
                                5));
    }
    machine.remote_bytes_per_s += rate;
  }
  return machine;
}

std::vector<TieredTensor> place_weights(const Arenas& arenas, const std::vector<Shape>& shapes,
                                        double ratio, const std::vector<double>& rates) {
  std::vector<TieredTensor> weights;
  int64_t offset = 0;
  // Of each link the remote blocks that it is behind its share by.
  std::vector<double> owed(rates.size());
  const double all = std::accumulate(rates.begin(), rates.end(), 0.0);
  const auto next_link = [&] {
    for (size_t i = 0; i < owed.size(); ++i) owed[i] += rates[i] / all;
    const auto most = std::max_element(owed.begin(), owed.end());
    *most -= 1;
    return static_cast<size_t>(most - owed.begin());
  };
  for (const Shape& shape : shapes) {
    TieredTensor tensor{.name = shape.name,
                        .dtype = DType::kBF16,
                        .rows = shape.rows,
                        .cols = shape.cols,
                        .blocks = {}};
    const int64_t blocks = row_blocks_of(shape.rows);
    if (offset + blocks * tensor.block_bytes() > arenas.size_bytes()) offset = 0;
    const auto remote = static_cast<int64_t>(std::llround(ratio * static_cast<double>(blocks)));
    for (int64_t b = 0; b < blocks; ++b, offset += tensor.block_bytes()) {
      if ((b + 1) * remote / blocks > b * remote / blocks) {
        const size_t link = next_link();
        tensor.blocks.push_back({arenas.remote(link) + offset, static_cast<TierIndex>(link + 1)});
      } else {
        tensor.blocks.push_back({arenas.local() + offset, 0});
      }
    }
    weights.push_back(std::move(tensor));
  }
  return weights;
}

Chain::Chain(const std::vector<TieredTensor>& weights, int64_t batch, const Machine& machine,
             const LinkController& links, cudaStream_t stream)
    : tensors_(weights), batch_(batch), links_(links), stream_(stream) {
  ReaderCounts readers = most_readers();
  for (size_t link = 0; link < machine.link_bytes_per_s.size(); ++link) {
    readers[link + 1] = readers_for(machine.link_bytes_per_s[link]);
  }
  for (const TieredTensor& tensor : tensors_) {
    weights_.push_back(
        std::make_unique<SplitWeight>(tensor, machine.sm_count, readers, machine.kernels));
    workspace_.reserve(*weights_.back(), batch);
    x_stride_ = std::max(x_stride_, padded_cols(tensor.cols));
    out_stride_ = std::max(out_stride_, tensor.rows);
  }
  x_ = DeviceBuffer(batch * x_stride_ * 2);
  out_ = DeviceBuffer(batch * out_stride_ * 2);
  random_fill(x_.as(), {.seed = 2, .count = batch * x_stride_}, stream_);
  cuda_check(cudaStreamSynchronize(stream_));
}

Chain::~Chain() {
  cudaStreamSynchronize(stream_);
  if (graph_ != nullptr) cudaGraphExecDestroy(graph_);
}

void Chain::enqueue(size_t index, bool overlap) {
  split_matmul(*weights_[index % size()],
               {.x = x_.as(),
                .x_stride = x_stride_,
                .batch = batch_,
                .out = out_.as(),
                .out_stride = out_stride_,
                .out_dtype = DType::kBF16,
                .overlap_previous = overlap},
               workspace_, links_, stream_);
}

void Chain::capture(size_t count, bool overlap) {
  if (graph_ != nullptr) cuda_check(cudaGraphExecDestroy(graph_));
  cudaGraph_t graph = nullptr;
  cuda_check(cudaStreamBeginCapture(stream_, cudaStreamCaptureModeThreadLocal));
  for (size_t i = 0; i < count; ++i) enqueue(i, overlap);
  cuda_check(cudaStreamEndCapture(stream_, &graph));
  cuda_check(cudaGraphInstantiate(&graph_, graph, 0));
  cuda_check(cudaGraphDestroy(graph));
}

void Chain::replay() { cuda_check(cudaGraphLaunch(graph_, stream_)); }

double Chain::time_in_graph(size_t count, bool overlap, int repeats) {
  capture(count, overlap);
  const EventPair events;
  for (int i = 0; i < 2; ++i) replay();
  std::vector<double> times;
  for (int i = 0; i < repeats; ++i) {
    cuda_check(cudaEventRecord(events.begin, stream_));
    replay();
    cuda_check(cudaEventRecord(events.end, stream_));
    times.push_back(static_cast<double>(milliseconds(events.begin, events.end)) /
                    static_cast<double>(count));
  }
  return median(times);
}

double Chain::time_alone(int repeats) {
  const EventPair events;
  std::vector<double> times;
  for (int i = 0; i < repeats; ++i) {
    cuda_check(cudaEventRecord(events.begin, stream_));
    enqueue(static_cast<size_t>(i), false);
    cuda_check(cudaEventRecord(events.end, stream_));
    times.push_back(static_cast<double>(milliseconds(events.begin, events.end)));
  }
  return median(times);
}

int64_t Chain::bytes(TierIndex tier) const {
  int64_t total = 0;
  for (const auto& weight : weights_) total += weight->traffic().read_bytes[tier];
  return total;
}

std::vector<uint16_t> Chain::output(size_t index) {
  cuda_check(cudaMemsetAsync(out_.as(), 0xff, static_cast<size_t>(out_.size_bytes()), stream_));
  enqueue(index, true);
  std::vector<uint16_t> out(static_cast<size_t>(batch_ * out_stride_));
  cuda_check(
      cudaMemcpyAsync(out.data(), out_.as(), out.size() * 2, cudaMemcpyDeviceToHost, stream_));
  cuda_check(cudaStreamSynchronize(stream_));
  return out;
}

double Chain::sampled_error(size_t index, const std::vector<uint16_t>& out) const {
  const TieredTensor& tensor = tensors_[index];
  std::vector<uint16_t> x(static_cast<size_t>(batch_ * x_stride_));
  cuda_check(cudaMemcpy(x.data(), x_.as(), x.size() * 2, cudaMemcpyDeviceToHost));
  std::vector<uint16_t> block(static_cast<size_t>(tensor.block_bytes() / 2));
  double difference = 0;
  double norm = 0;
  const auto blocks = static_cast<int64_t>(tensor.blocks.size());
  for (const int64_t b : {int64_t{0}, blocks / 2, blocks - 1}) {
    cuda_check(cudaMemcpy(block.data(), tensor.blocks[static_cast<size_t>(b)].data,
                          block.size() * 2, cudaMemcpyDefault));
    for (int64_t row = b % 7; row < tensor.rows_in_block(b); row += 13) {
      for (int64_t m = 0; m < batch_; m += 3) {
        double sum = 0;
        for (int64_t k = 0; k < tensor.cols; ++k) {
          sum +=
              static_cast<double>(bf16_to_f32(x[static_cast<size_t>(m * x_stride_ + k)])) *
              static_cast<double>(bf16_to_f32(block[static_cast<size_t>(offset_in_block(row, k))]));
        }
        const double d = static_cast<double>(bf16_to_f32(
                             out[static_cast<size_t>(m * out_stride_ + b * 64 + row)])) -
                         sum;
        difference += d * d;
        norm += sum * sum;
      }
    }
  }
  return std::sqrt(difference / norm);
}

}  // namespace dak::bench
