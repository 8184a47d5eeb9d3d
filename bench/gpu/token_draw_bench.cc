// dak_bench_token_draw: microseconds that choosing the tokens adds to a recorded decode step, for
// logits that lie in L2 as the lm_head leaves them. Normal logits, whose long tail is more work
// than a trained model's.
#include <cuda_runtime_api.h>
#include <fmt/core.h>

#include <algorithm>
#include <random>
#include <string>
#include <vector>

#include "kernels/device_buffer.h"
#include "ops/cuda/sampling.h"

namespace dak::bench {
namespace {

constexpr int kStepsInGraph = 50;
constexpr int kRepeats = 21;

template <typename T>
DeviceBuffer on_device(const std::vector<T>& values) {
  const size_t bytes = values.size() * sizeof(T);
  DeviceBuffer buffer(static_cast<int64_t>(bytes));
  cuda_check(cudaMemcpy(buffer.as(), values.data(), bytes, cudaMemcpyHostToDevice));
  return buffer;
}

class Graph {
 public:
  Graph(const cuda::AdvanceParams& params, cudaStream_t stream) {
    cudaGraph_t graph = nullptr;
    cuda_check(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal));
    for (int i = 0; i < kStepsInGraph; ++i) cuda::launch_advance(params, stream);
    cuda_check(cudaStreamEndCapture(stream, &graph));
    cuda_check(cudaGraphInstantiate(&graph_, graph, 0));
    cudaGraphDestroy(graph);
  }
  ~Graph() { cudaGraphExecDestroy(graph_); }
  Graph(const Graph&) = delete;
  Graph& operator=(const Graph&) = delete;

  // Median over replays; the first few warm up.
  double microseconds_a_step(cudaStream_t stream) const {
    cudaEvent_t begin = nullptr;
    cudaEvent_t end = nullptr;
    cuda_check(cudaEventCreate(&begin));
    cuda_check(cudaEventCreate(&end));
    std::vector<double> times;
    for (int i = -3; i < kRepeats; ++i) {
      cuda_check(cudaEventRecord(begin, stream));
      cuda_check(cudaGraphLaunch(graph_, stream));
      cuda_check(cudaEventRecord(end, stream));
      cuda_check(cudaEventSynchronize(end));
      float milliseconds = 0;
      cuda_check(cudaEventElapsedTime(&milliseconds, begin, end));
      if (i >= 0) times.push_back(milliseconds * 1e3 / kStepsInGraph);
    }
    cudaEventDestroy(begin);
    cudaEventDestroy(end);
    std::nth_element(times.begin(), times.begin() + kRepeats / 2, times.end());
    return times[kRepeats / 2];
  }

 private:
  cudaGraphExec_t graph_ = nullptr;
};

double measure(int64_t rows, int64_t vocabulary, float spread, const DrawParams& draw,
               cudaStream_t stream) {
  std::mt19937 random(1);
  std::normal_distribution<float> normal(0, spread);
  const auto m = static_cast<size_t>(rows);
  std::vector<float> values(m * static_cast<size_t>(vocabulary));
  for (float& value : values) value = normal(random);
  const DeviceBuffer logits = on_device(values);
  const DeviceBuffer draws = on_device(std::vector<DrawParams>(m, draw));
  const DeviceBuffer best = on_device(std::vector<unsigned long long>(m));
  const DeviceBuffer ids = on_device(std::vector<int32_t>(m));
  const DeviceBuffer positions = on_device(std::vector<int32_t>(m));
  const DeviceBuffer places = on_device(std::vector<cuda::KvRow>(m));
  const DeviceBuffer history = on_device(std::vector<int32_t>(cuda::kTokenHistory * m));
  const DeviceBuffer step = on_device(std::vector<uint32_t>(1));
  const Graph graph({.logits = logits.as<float>(),
                     .draws = draws.as<DrawParams>(),
                     .best = best.as<unsigned long long>(),
                     .ids = ids.as<int32_t>(),
                     .positions = positions.as<int32_t>(),
                     .rows = places.as<cuda::KvRow>(),
                     .history = history.as<int32_t>(),
                     .step = step.as<uint32_t>(),
                     .m = rows,
                     .vocabulary = vocabulary},
                    stream);
  return graph.microseconds_a_step(stream);
}

void run() {
  struct Case {
    std::string name;
    DrawParams draw;
  };
  const std::vector<Case> cases{
      {"greedy", {}},
      {"temperature 1", {.temperature = 1}},
      {"top-k 40", {.temperature = 1, .top_k = 40}},
      {"top-p 0.9", {.temperature = 1, .top_p = 0.9f}},
      {"top-k 40, top-p 0.9", {.temperature = 1, .top_k = 40, .top_p = 0.9f}},
      {"min-p 0.05", {.temperature = 1, .min_p = 0.05f}},
      {"top-p 0.9, temperature 100", {.temperature = 100, .top_p = 0.9f}},
  };
  cudaStream_t stream = nullptr;
  cuda_check(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking));
  fmt::print("microseconds a step, median of {}\n", kRepeats);
  for (const int64_t vocabulary : {32000, 151936}) {
    for (const float spread : {3.0f, 1.0f}) {
      fmt::print("{} tokens, standard deviation of the logits {}; rows: {:>7} {:>7} {:>7}\n",
                 vocabulary, spread, 1, 8, 64);
      for (const Case& c : cases) {
        fmt::print("  {:<28}", c.name);
        for (const int64_t rows : {1, 8, 64}) {
          fmt::print(" {:>7.1f}", measure(rows, vocabulary, spread, c.draw, stream));
        }
        fmt::print("\n");
      }
    }
  }
  cudaStreamDestroy(stream);
}

}  // namespace
}  // namespace dak::bench

int main() {
  try {
    dak::bench::run();
  } catch (const std::exception& error) {
    fmt::print(stderr, "{}\n", error.what());
    return 1;
  }
  return 0;
}
