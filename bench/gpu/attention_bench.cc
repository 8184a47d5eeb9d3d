// dak_bench_attention: decode attention over KV pages in two tiers against the bound max over tiers
// of bytes / bandwidth, both probed in the same run. Pages lie as the engine's cache places them:
// the oldest runs of all sequences leave first.
//   --json FILE  --only SHAPE  --ratios 0,0.2  --batches 1x512,32x8192  --kernels auto|tma|plain
// The launches of a graph read the pages of as many layers as the arena has room for, so that a
// short case does not come from L2.
#include <fmt/core.h>

#include <cmath>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <sstream>

#include "base/error.h"
#include "base/half.h"
#include "gpu/bench_setup.h"
#include "kernels/random_fill.h"
#include "ops/attention.h"
#include "ops/cuda/kv_layout.h"
#include "ops/cuda/state.h"

namespace dak::bench {
namespace {

constexpr int64_t kHeadSize = 128;
constexpr int64_t kTokens = 256 * 1024;  // of a case, at most

struct AttentionShape {
  const char* name;
  int64_t heads;
  int64_t kv_heads;
};
constexpr AttentionShape kShapes[] = {
    {"llama-3.1-8b", 32, 8}, {"llama-3.1-70b", 64, 8}, {"opt-30b", 56, 56}};

struct AttentionBatch {
  int64_t sequences;
  int64_t tokens;  // of each
};
constexpr int kLaunches = 10;  // in a graph, at most

struct Flags {
  std::string json;
  std::string only;
  std::vector<double> ratios{0, 0.016, 0.2, 0.5, 0.8, 1};
  std::vector<AttentionBatch> batches{{1, 128 * 1024}, {32, 8 * 1024}, {256, 1024}};
  KernelKind kernels = KernelKind::kAuto;
};

// "32x8192": sequences of so many tokens each.
AttentionBatch parse_batch(const std::string& text) {
  const size_t x = text.find('x');
  if (x == std::string::npos) throw_invalid("--batches", {}, text, "is not like 32x8192");
  const AttentionBatch batch{.sequences = std::stoll(text),
                             .tokens = std::stoll(text.substr(x + 1))};
  if (batch.sequences < 1 || batch.tokens < 1 || batch.sequences * batch.tokens > kTokens) {
    throw_invalid("--batches", {}, text, fmt::format("is not between 1 and {} tokens", kTokens));
  }
  return batch;
}

Flags parse(int argc, char** argv) {
  Flags flags;
  for (int i = 1; i < argc; i += 2) {
    const std::string flag = argv[i];
    if (i + 1 >= argc) throw_invalid(flag, {}, {}, "needs a value");
    const std::string value = argv[i + 1];
    if (flag == "--json") {
      flags.json = value;
    } else if (flag == "--only") {
      flags.only = value;
    } else if (flag == "--kernels") {
      flags.kernels = parse_kernel_kind(value, flag);
    } else if (flag == "--ratios") {
      flags.ratios.clear();
      std::stringstream stream(value);
      for (std::string part; std::getline(stream, part, ',');) {
        flags.ratios.push_back(std::stod(part));
      }
    } else if (flag == "--batches") {
      flags.batches.clear();
      std::stringstream stream(value);
      for (std::string part; std::getline(stream, part, ',');) {
        flags.batches.push_back(parse_batch(part));
      }
    } else {
      throw_invalid(flag, {}, {}, "unknown flag");
    }
  }
  return flags;
}

AttentionConfig config_of(const AttentionShape& shape) {
  return {.heads = shape.heads,
          .kv_heads = shape.kv_heads,
          .head_size = kHeadSize,
          .scale = 1.0f / std::sqrt(static_cast<float>(kHeadSize)),
          .kv_dtype = DType::kBF16};
}

// One case: queries, and the pages of the batch's layers under a placement.
class Case {
 public:
  Case(OpContext& ctx, const Arenas& arenas, const AttentionConfig& config,
       const AttentionBatch& batch, double ratio)
      : ctx_(ctx), config_(config) {
    const int64_t layers =
        std::clamp<int64_t>(kTokens / (batch.sequences * batch.tokens), 1, kLaunches);
    pages_.resize(static_cast<size_t>(layers * batch.sequences));
    for (int64_t layer = 0; layer < layers; ++layer) {
      place(arenas, batch, ratio, layer);
      layers_.emplace_back();
      for (int64_t i = 0; i < batch.sequences; ++i) {
        layers_.back().push_back({.pages = pages_[static_cast<size_t>(layer * batch.sequences + i)],
                                  .past = batch.tokens - 1,
                                  .first_row = i,
                                  .rows = 1});
      }
    }
    const int64_t values = batch.sequences * config.heads * kHeadSize;
    q_ = DeviceBuffer(values * 4);
    out_ = DeviceBuffer(values * 4);
    random_fill(q_.as(), {.seed = 3, .count = values, .dtype = DType::kF32, .half_width = 8},
                ctx.cuda->stream());
    for (auto [tensor, buffer] : {std::pair{&q_tensor_, &q_}, {&out_tensor_, &out_}}) {
      *tensor = {
          .data = buffer->as(), .rank = 3, .shape = {batch.sequences, config.heads, kHeadSize}};
    }
    count_kv_traffic(config, layers_[0], traffic_);
  }

  const TierTraffic& traffic() const { return traffic_; }
  void enqueue(int64_t launch = 0) {
    config_.layer = launch % std::ssize(layers_);
    attention(ctx_, config_, layers_[static_cast<size_t>(config_.layer)], q_tensor_, out_tensor_);
  }

  std::vector<float> output() {
    cuda_check(cudaMemset(out_.as(), 0xff, static_cast<size_t>(out_.size_bytes())));
    cuda_check(cudaDeviceSynchronize());
    enqueue();
    std::vector<float> out(static_cast<size_t>(out_.size_bytes() / 4));
    cuda_check(cudaStreamSynchronize(ctx_.cuda->stream()));
    std::memcpy(out.data(), ctx_.cuda->download(out_.as<float>(), std::ssize(out)),
                out.size() * sizeof(float));
    return out;
  }

  // Median milliseconds of one launch in a graph of `count`.
  double time_in_graph(int count, int repeats) {
    CudaBackend& backend = *ctx_.cuda;
    for (int i = 0; i < count; ++i) enqueue(i);  // every layer's tables have a place from here on
    const CudaBackend::Recording steps = backend.record(1, [&] {
      for (int i = 0; i < count; ++i) enqueue(i);
    });
    cudaEvent_t begin = nullptr;
    cudaEvent_t end = nullptr;
    cuda_check(cudaEventCreate(&begin));
    cuda_check(cudaEventCreate(&end));
    std::vector<double> times;
    for (int i = 0; i <= repeats; ++i) {
      cuda_check(cudaEventRecord(begin, backend.stream()));
      cuda_check(cudaGraphLaunch(steps.executable, backend.stream()));
      cuda_check(cudaEventRecord(end, backend.stream()));
      cuda_check(cudaEventSynchronize(end));
      float ms = 0;
      cuda_check(cudaEventElapsedTime(&ms, begin, end));
      if (i > 0) times.push_back(static_cast<double>(ms) / count);
    }
    cuda_check(cudaEventDestroy(begin));
    cuda_check(cudaEventDestroy(end));
    cuda_check(cudaGraphExecDestroy(steps.executable));
    cuda_check(cudaGraphDestroy(steps.graph));
    return median(times);
  }

  // Worst error of some heads against fp64, as a share of the sum of |weight x value|.
  double sampled_error(const std::vector<float>& out) const {
    double worst = 0;
    const auto rows = std::ssize(layers_[0]);
    for (const auto& [row, head] : {std::pair<int64_t, int64_t>{0, 0},
                                    {rows / 2, config_.heads / 2},
                                    {rows - 1, config_.heads - 1}}) {
      worst = std::max(worst, head_error(out, row, head));
    }
    return worst;
  }

 private:
  // Page i of all lies at the same offset in either arena, with the same bytes.
  void place(const Arenas& arenas, const AttentionBatch& batch, double ratio, int64_t layer) {
    const int64_t each = kv_pages_for(batch.tokens);
    const int64_t total = each * batch.sequences;
    const int64_t first = layer * batch.sequences;
    auto remote = static_cast<int64_t>(std::llround(ratio * static_cast<double>(total)));
    for (int64_t i = 0; i < total; ++i) {
      pages_[static_cast<size_t>(first + i / each)].push_back(
          {.data = arenas.local() + (layer * total + i) * config_.page_bytes(), .tier = 0});
    }
    const auto move = [&](int64_t sequence, int64_t page) {
      if (remote-- <= 0) return;
      const int64_t at = (first + sequence) * each + page;
      pages_[static_cast<size_t>(first + sequence)][static_cast<size_t>(page)] = {
          .data = arenas.remote() + at * config_.page_bytes(), .tier = 1};
    };
    for (int64_t run = 0; run < each; run += cuda::kRunPages) {
      for (int64_t s = 0; s < batch.sequences; ++s) {
        const int64_t end = std::min(run + cuda::kRunPages, each - 1);  // new tokens are local
        for (int64_t page = run; page < end; ++page) move(s, page);
      }
    }
    for (int64_t s = 0; s < batch.sequences; ++s) move(s, each - 1);
  }

  double head_error(const std::vector<float>& out, int64_t row, int64_t head) const {
    const int64_t at = (row * config_.heads + head) * kHeadSize;
    std::vector<float> q(kHeadSize);
    cuda_check(cudaMemcpy(q.data(), q_.as<float>() + at, kHeadSize * 4, cudaMemcpyDefault));
    const int64_t kv_head = head / (config_.heads / config_.kv_heads);
    const int64_t head_values = kPageTokens * kHeadSize;
    std::vector<uint16_t> keys(static_cast<size_t>(head_values));
    std::vector<uint16_t> page_values(keys.size());
    std::vector<double> sums(kHeadSize);
    std::vector<double> sizes(kHeadSize);
    double most = -1e300;
    double total = 0;
    for (const KvPage& page : layers_[0][static_cast<size_t>(row)].pages) {
      const std::byte* data = page.data + kv_head * head_values * 2;
      cuda_check(cudaMemcpy(keys.data(), data, keys.size() * 2, cudaMemcpyDefault));
      cuda_check(cudaMemcpy(page_values.data(), data + config_.kv_heads * head_values * 2,
                            keys.size() * 2, cudaMemcpyDefault));
      for (int token = 0; token < kPageTokens; ++token) {
        const auto value_at = [&](const std::vector<uint16_t>& values, int64_t d) {
          const int place = cuda::kv_place(token, static_cast<int>(d / 8), kHeadSize / 8);
          return static_cast<double>(bf16_to_f32(values[static_cast<size_t>(place * 8 + d % 8)]));
        };
        double score = 0;
        for (int64_t d = 0; d < kHeadSize; ++d) {
          score += static_cast<double>(q[static_cast<size_t>(d)]) * value_at(keys, d);
        }
        score *= static_cast<double>(config_.scale);
        const double shrink = score > most ? std::exp(most - score) : 1;
        most = std::max(most, score);
        const double weight = std::exp(score - most);
        total = total * shrink + weight;
        for (int64_t d = 0; d < kHeadSize; ++d) {
          const auto i = static_cast<size_t>(d);
          const double value = value_at(page_values, d);
          sums[i] = sums[i] * shrink + weight * value;
          sizes[i] = sizes[i] * shrink + weight * std::abs(value);
        }
      }
    }
    double worst = 0;
    for (size_t d = 0; d < kHeadSize; ++d) {
      const double ours = static_cast<double>(out[static_cast<size_t>(at) + d]);
      const double error = std::abs(ours - sums[d] / total) / (sizes[d] / total);
      if (!(error <= worst)) worst = error;  // NaN counts
    }
    return worst;
  }

  OpContext& ctx_;
  AttentionConfig config_;
  std::vector<std::vector<KvPage>> pages_;  // [layer, sequence]
  std::vector<std::vector<KvSequence>> layers_;
  DeviceBuffer q_;
  DeviceBuffer out_;
  Tensor q_tensor_;
  Tensor out_tensor_;
  TierTraffic traffic_;
};

// Keys and queries have two 16-bit terms each, values one: far below this.
constexpr double kMostError = 1e-3;

int run(const Flags& flags) {
  const KernelKind kernels = choose_kernels(flags.kernels, supported_kernels(0));
  int64_t arena_bytes = 0;
  for (const AttentionShape& shape : kShapes) {
    if (std::string_view(shape.name).find(flags.only) == std::string_view::npos) continue;
    arena_bytes = std::max(arena_bytes, kTokens / kPageTokens * config_of(shape).page_bytes());
  }
  if (arena_bytes == 0) throw_invalid("--only", {}, flags.only, "names no shape");
  const Arenas arenas("host", arena_bytes);
  const Machine machine = probe(arenas, "host", kernels);
  const CudaBackendPtr backend = make_cuda_backend(0, kernels);
  const Tier tiers[] = {{.name = "local", .read_bytes_per_s = machine.local_bytes_per_s},
                        {.name = "host", .read_bytes_per_s = machine.remote_bytes_per_s}};
  set_tier_bandwidths(*backend, tiers);
  OpContext ctx;
  ctx.backend = Backend::kCuda;
  ctx.cuda = backend.get();
  fmt::print("{}, kernels {}: HBM {:.0f} GB/s, link {:.1f} GB/s\n", machine.gpu, name(kernels),
             machine.local_bytes_per_s / 1e9, machine.remote_bytes_per_s / 1e9);
  std::string rows;
  int failures = 0;
  for (const AttentionShape& shape : kShapes) {
    if (std::string_view(shape.name).find(flags.only) == std::string_view::npos) continue;
    for (const AttentionBatch& batch : flags.batches) {
      const AttentionConfig config = config_of(shape);
      std::vector<float> expected;
      for (const double ratio : flags.ratios) {
        Case test(ctx, arenas, config, batch, ratio);
        const std::vector<float> out = test.output();
        double error = 0;
        if (expected.empty()) {
          expected = out;
          error = test.sampled_error(out);
        }
        const bool equal =
            std::memcmp(out.data(), expected.data(), out.size() * sizeof(float)) == 0;
        if (!equal || !(error <= kMostError)) ++failures;
        const auto local = static_cast<double>(test.traffic().read_bytes[0]);
        const auto remote = static_cast<double>(test.traffic().read_bytes[1]);
        const double bound_ms =
            1e3 * std::max(local / machine.local_bytes_per_s, remote / machine.remote_bytes_per_s);
        const int count = static_cast<int>(std::clamp<double>(4 / bound_ms, 1, kLaunches));
        const double ms = test.time_in_graph(count, bound_ms > 20 ? 2 : 5);
        const LinkStatus link = link_status(*backend, 1);
        fmt::print(
            "{:>13} {:>3} x {:>6} ratio {:>5.3f}: {:>8.3f} ms, {:>5.1f} % of the bound, local "
            "{:>7.1f} MB {:>6.0f} GB/s, host {:>7.1f} MB {:>5.1f} GB/s, window {:>4} KiB, {}{}\n",
            shape.name, batch.sequences, batch.tokens, ratio, ms, 100 * bound_ms / ms, local / 1e6,
            local / ms / 1e6, remote / 1e6, remote / ms / 1e6, link.window_bytes / 1024,
            equal ? "same bits" : "OTHER BITS",
            error > 0 ? fmt::format(", error {:.1e}", error) : "");
        rows +=
            fmt::format(R"({}{{"shape":"{}","sequences":{},"tokens":{},"ratio":{},"ms":{:.4f},)"
                        R"("percent_of_bound":{:.2f},"local_bytes":{:.0f},"remote_bytes":{:.0f},)"
                        R"("window_bytes":{},"bitwise_equal":{}}})",
                        rows.empty() ? "" : ",\n ", shape.name, batch.sequences, batch.tokens,
                        ratio, ms, 100 * bound_ms / ms, local, remote, link.window_bytes, equal);
      }
    }
  }
  if (!flags.json.empty()) {
    std::ofstream(flags.json)
        << fmt::format(
               R"({{"gpu":"{}","kernels":"{}","local_gb_s":{:.2f},"remote_gb_s":{:.2f},"attention":[{}]}})",
               machine.gpu, name(kernels), machine.local_bytes_per_s / 1e9,
               machine.remote_bytes_per_s / 1e9, rows)
        << "\n";
  }
  fmt::print("{} failures\n", failures);
  return failures == 0 ? 0 : 1;
}

}  // namespace
}  // namespace dak::bench

int main(int argc, char** argv) {
  std::setvbuf(stdout, nullptr, _IOLBF, 0);  // a run that is cut off shows how far it came
  try {
    if (!dak::has_cuda_device()) {
      fmt::print("no CUDA device: skipped\n");
      return 0;
    }
    return dak::bench::run(dak::bench::parse(argc, argv));
  } catch (const std::exception& error) {
    fmt::print(stderr, "{}\n", error.what());
    return 2;
  }
}
