// dak_bench_prefill_attention: attention of a prompt's chunk over KV pages in two tiers, against
// the bound: FLOPs / the measured peak of tensor cores, or bytes / bandwidth of a tier, all probed
// in the same run. The oldest pages leave first. One sequence; bf16.
//   --json FILE  --only SHAPE  --chunks 512,2048,8192  --pasts 0,32768,131072  --ratios 0,0.2,0.5,1
#include <fmt/core.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <sstream>

#include "base/error.h"
#include "base/half.h"
#include "gpu/bench_setup.h"
#include "kernels/event_pair.h"
#include "kernels/random_fill.h"
#include "ops/attention.h"
#include "ops/cuda/kv_layout.h"
#include "ops/cuda/state.h"
#include "ops/tensor_peak.h"

namespace dak::bench {
namespace {

constexpr int64_t kHeadSize = 128;

struct AttentionShape {
  const char* name;
  int64_t heads;
  int64_t kv_heads;
};
constexpr AttentionShape kShapes[] = {
    {"llama-3.1-8b", 32, 8}, {"llama-3.1-70b", 64, 8}, {"opt-30b", 56, 56}};

struct Flags {
  std::string json;
  std::string only;
  std::vector<double> chunks{512, 2048, 8192};
  std::vector<double> pasts{0, 32 * 1024, 128 * 1024};
  std::vector<double> ratios{0, 0.2, 0.5, 1};
};

std::vector<double> numbers(const std::string& value) {
  std::vector<double> all;
  std::stringstream stream(value);
  for (std::string part; std::getline(stream, part, ',');) all.push_back(std::stod(part));
  return all;
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
    } else if (flag == "--chunks") {
      flags.chunks = numbers(value);
    } else if (flag == "--pasts") {
      flags.pasts = numbers(value);
    } else if (flag == "--ratios") {
      flags.ratios = numbers(value);
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

// A chunk of `rows` rows behind `past` tokens, and the pages under a placement.
class Case {
 public:
  Case(OpContext& ctx, const Arenas& arenas, const AttentionConfig& config, int64_t past,
       int64_t rows, double ratio)
      : ctx_(ctx), config_(config), past_(past), rows_(rows) {
    const int64_t total = kv_pages_for(past + rows);
    const auto remote = static_cast<int64_t>(std::llround(ratio * static_cast<double>(total)));
    for (int64_t i = 0; i < total; ++i) {
      std::byte* arena = i < remote ? arenas.remote() : arenas.local();
      pages_.push_back({.data = arena + i * config.page_bytes(),
                        .tier = static_cast<TierIndex>(i < remote ? 1 : 0)});
    }
    sequences_ = {{.pages = pages_, .past = past, .first_row = 0, .rows = rows}};
    const int64_t values = rows * config.heads * kHeadSize;
    q_ = DeviceBuffer(values * 4);
    out_ = DeviceBuffer(values * 2);
    random_fill(q_.as(), {.seed = 3, .count = values, .dtype = DType::kF32, .half_width = 8},
                ctx.cuda->stream());
    q_tensor_ = {.data = q_.as(), .rank = 3, .shape = {rows, config.heads, kHeadSize}};
    out_tensor_ = q_tensor_;
    out_tensor_.data = out_.as();
    out_tensor_.dtype = DType::kBF16;  // what the product behind it reads
    count_kv_traffic(config, sequences_, traffic_);
  }

  const TierTraffic& traffic() const { return traffic_; }
  double flops() const {
    const auto seen = static_cast<double>(past_) + (static_cast<double>(rows_) + 1) / 2;
    return 4.0 * seen * static_cast<double>(rows_ * config_.heads * kHeadSize);
  }
  void enqueue() { attention(ctx_, config_, sequences_, q_tensor_, out_tensor_); }

  std::vector<uint16_t> output() {
    cuda_check(cudaMemset(out_.as(), 0xff, static_cast<size_t>(out_.size_bytes())));
    cuda_check(cudaDeviceSynchronize());
    enqueue();
    cuda_check(cudaStreamSynchronize(ctx_.cuda->stream()));
    std::vector<uint16_t> out(static_cast<size_t>(out_.size_bytes() / 2));
    cuda_check(cudaMemcpy(out.data(), out_.as(), out.size() * 2, cudaMemcpyDeviceToHost));
    return out;
  }

  // Median milliseconds of one launch in a graph of `count`.
  double time_in_graph(int count, int repeats) {
    CudaBackend& backend = *ctx_.cuda;
    const CudaBackend::Recording steps = backend.record(1, [&] {
      for (int i = 0; i < count; ++i) enqueue();
    });
    EventPair events;
    std::vector<double> times;
    for (int i = 0; i <= repeats; ++i) {
      cuda_check(cudaEventRecord(events.begin, backend.stream()));
      cuda_check(cudaGraphLaunch(steps.executable, backend.stream()));
      cuda_check(cudaEventRecord(events.end, backend.stream()));
      cuda_check(cudaEventSynchronize(events.end));
      float ms = 0;
      cuda_check(cudaEventElapsedTime(&ms, events.begin, events.end));
      if (i > 0) times.push_back(static_cast<double>(ms) / count);
    }
    cuda_check(cudaGraphExecDestroy(steps.executable));
    cuda_check(cudaGraphDestroy(steps.graph));
    return median(times);
  }

  // Worst error of some heads against fp64, as a share of the sum of |weight x value|.
  double sampled_error(const std::vector<uint16_t>& out) const {
    double worst = 0;
    for (const auto& [row, head] : {std::pair<int64_t, int64_t>{0, 0},
                                    {rows_ / 2, config_.heads / 2},
                                    {rows_ - 1, config_.heads - 1}}) {
      worst = std::max(worst, head_error(out, row, head));
    }
    return worst;
  }

 private:
  double head_error(const std::vector<uint16_t>& out, int64_t row, int64_t head) const {
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
    for (int64_t t = 0; t <= past_ + row; ++t) {
      const auto token = static_cast<int>(t % kPageTokens);
      if (token == 0) {
        const std::byte* data =
            pages_[static_cast<size_t>(t / kPageTokens)].data + kv_head * head_values * 2;
        cuda_check(cudaMemcpy(keys.data(), data, keys.size() * 2, cudaMemcpyDefault));
        cuda_check(cudaMemcpy(page_values.data(), data + config_.kv_heads * head_values * 2,
                              keys.size() * 2, cudaMemcpyDefault));
      }
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
    double worst = 0;
    for (size_t d = 0; d < kHeadSize; ++d) {
      const auto ours = static_cast<double>(bf16_to_f32(out[static_cast<size_t>(at) + d]));
      const double error = std::abs(ours - sums[d] / total) / (sizes[d] / total);
      if (!(error <= worst)) worst = error;  // NaN counts
    }
    return worst;
  }

  OpContext& ctx_;
  AttentionConfig config_;
  int64_t past_;
  int64_t rows_;
  std::vector<KvPage> pages_;
  std::vector<KvSequence> sequences_;
  DeviceBuffer q_;
  DeviceBuffer out_;
  Tensor q_tensor_;
  Tensor out_tensor_;
  TierTraffic traffic_;
};

// Queries, weights and outputs are rounded to bf16, 2^-9 each.
constexpr double kMostError = 1e-2;

struct Peaks {
  Machine machine;
  double flops_per_s;
};

// One case's line; its JSON in `rows`. False: wrong.
bool report(Case& test, CudaBackend& backend, const Peaks& peaks, const std::string& label,
            std::vector<uint16_t>& expected, std::string& rows) {
  const std::vector<uint16_t> out = test.output();
  double error = 0;
  if (expected.empty()) {
    expected = out;
    error = test.sampled_error(out);
  }
  const bool equal = out == expected;
  const auto local = static_cast<double>(test.traffic().read_bytes[0]);
  const auto remote = static_cast<double>(test.traffic().read_bytes[1]);
  const double bound_ms =
      1e3 * std::max({test.flops() / peaks.flops_per_s, local / peaks.machine.local_bytes_per_s,
                      remote / peaks.machine.remote_bytes_per_s});
  const int count = static_cast<int>(std::clamp(4 / bound_ms, 1.0, 10.0));
  const double ms = test.time_in_graph(count, bound_ms > 20 ? 2 : 5);
  const LinkStatus link = link_status(backend, 1);
  fmt::print(
      "{}: {:>8.3f} ms, {:>5.1f} TFLOP/s, host {:>7.1f} MB {:>5.1f} GB/s, {:>5.1f} % of the "
      "bound, window {:>4} KiB, {}{}\n",
      label, ms, test.flops() / ms / 1e9, remote / 1e6, remote / ms / 1e6, 100 * bound_ms / ms,
      link.window_bytes / 1024, equal ? "same bits" : "OTHER BITS",
      error > 0 ? fmt::format(", error {:.1e}", error) : "");
  rows +=
      fmt::format(R"({}{{"case":"{}","ms":{:.4f},"tflop_per_s":{:.1f},"percent_of_bound":{:.2f},)"
                  R"("local_bytes":{:.0f},"remote_bytes":{:.0f},"bitwise_equal":{}}})",
                  rows.empty() ? "" : ",\n ", label, ms, test.flops() / ms / 1e9,
                  100 * bound_ms / ms, local, remote, equal);
  return equal && error <= kMostError;
}

int run(const Flags& flags) {
  const KernelKind kernels = choose_kernels(KernelKind::kAuto, supported_kernels(0));
  const auto most =
      static_cast<int64_t>(std::ranges::max(flags.chunks) + std::ranges::max(flags.pasts));
  int64_t arena_bytes = 0;
  for (const AttentionShape& shape : kShapes) {
    if (std::string_view(shape.name).find(flags.only) == std::string_view::npos) continue;
    arena_bytes = std::max(arena_bytes, kv_pages_for(most) * config_of(shape).page_bytes());
  }
  if (arena_bytes == 0) throw_invalid("--only", {}, flags.only, "names no shape");
  const Arenas arenas("host", arena_bytes);
  const Peaks peaks{.machine = probe(arenas, "host", kernels),
                    .flops_per_s = measure_tensor_peak(0, DType::kBF16).value_or(990e12)};
  const CudaBackendPtr backend = make_cuda_backend(0, kernels);
  const Tier tiers[] = {{.name = "local", .read_bytes_per_s = peaks.machine.local_bytes_per_s},
                        {.name = "host", .read_bytes_per_s = peaks.machine.remote_bytes_per_s}};
  set_tier_bandwidths(*backend, tiers);
  OpContext ctx;
  ctx.backend = Backend::kCuda;
  ctx.cuda = backend.get();
  fmt::print("{}, kernels {}: {:.0f} TFLOP/s, HBM {:.0f} GB/s, link {:.1f} GB/s\n",
             peaks.machine.gpu, name(kernels), peaks.flops_per_s / 1e12,
             peaks.machine.local_bytes_per_s / 1e9, peaks.machine.remote_bytes_per_s / 1e9);
  std::string rows;
  int failures = 0;
  for (const AttentionShape& shape : kShapes) {
    if (std::string_view(shape.name).find(flags.only) == std::string_view::npos) continue;
    for (const double chunk : flags.chunks) {
      for (const double past : flags.pasts) {
        std::vector<uint16_t> expected;
        for (const double ratio : flags.ratios) {
          Case test(ctx, arenas, config_of(shape), static_cast<int64_t>(past),
                    static_cast<int64_t>(chunk), ratio);
          const std::string label = fmt::format("{:>13} {:>5} rows at {:>6}, ratio {:>4.2f}",
                                                shape.name, chunk, past, ratio);
          if (!report(test, *backend, peaks, label, expected, rows)) ++failures;
        }
      }
    }
  }
  if (!flags.json.empty()) {
    std::ofstream(flags.json)
        << fmt::format(
               R"({{"gpu":"{}","tflop_per_s":{:.1f},"local_gb_s":{:.2f},"remote_gb_s":{:.2f},"cases":[{}]}})",
               peaks.machine.gpu, peaks.flops_per_s / 1e12, peaks.machine.local_bytes_per_s / 1e9,
               peaks.machine.remote_bytes_per_s / 1e9, rows)
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
