// Split matmul on a real GPU against fp64, and against itself bit by bit over placements, with
// every kind of kernels that the build has for it; and the bandwidth probes. Its own main, so that
// one carried binary runs on a bare machine; prints one line per case.
#include "kernels/split_matmul.h"

#include <cuda_runtime_api.h>
#include <fmt/core.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <limits>
#include <random>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "base/half.h"
#include "kernels/cuda_check.h"
#include "kernels/device_buffer.h"
#include "kernels/tier_reader.h"
#include "tests/kernels/case_support.h"

namespace dak {
namespace {

struct Case {
  DType dtype;
  int64_t batch;
  int64_t rows;
  int64_t cols;
  DType out_dtype = DType::kF32;
  bool bias = false;
  bool residual = false;
  bool gated = false;
  Activation activation = Activation::kNone;
};

// One case's data in every tier: tier 0 is HBM, tiers 1 and 2 are two host arenas.
class Fixture {
 public:
  explicit Fixture(const Case& c)
      : case_(c),
        outputs_(c.gated ? c.rows / 2 : c.rows),
        x_stride_((c.cols + 7) / 8 * 8),
        block_bytes_(row_block_bytes(c.cols, c.dtype)),
        blocks_(row_blocks_of(c.rows)),
        local_(blocks_ * block_bytes_),
        near_(blocks_ * block_bytes_),
        far_(blocks_ * block_bytes_) {
    std::mt19937 rng(static_cast<uint32_t>(c.rows * 31 + c.cols * 7 + c.batch));
    weight_ = random_values(c.rows * c.cols, c.dtype, rng);
    x_ = random_values(c.batch * c.cols, c.dtype, rng);
    bias_ = random_values(c.rows, DType::kF32, rng);
    residual_ = random_values(c.batch * outputs_, c.out_dtype, rng);
    for (int64_t b = 0; b < blocks_; ++b) {
      pack_row_block(weight_.data() + b * 64 * c.cols, std::min<int64_t>(64, c.rows - b * 64),
                     c.cols, c.dtype, near_.data + b * block_bytes_);
    }
    std::memcpy(far_.data, near_.data, static_cast<size_t>(blocks_ * block_bytes_));
    cuda_check(cudaMemcpy(local_.as(), near_.data, static_cast<size_t>(blocks_ * block_bytes_),
                          cudaMemcpyHostToDevice));
    upload_x();
    bias_device_ = DeviceBuffer(c.rows * 4);
    cuda_check(
        cudaMemcpy(bias_device_.as(), bias_.data(), bias_.size() * 4, cudaMemcpyHostToDevice));
    out_bytes_ = c.batch * outputs_ * bytes_of(c.out_dtype, 1);
    out_ = DeviceBuffer(out_bytes_ + 2 * kGuardBytes);
    residual_device_ = DeviceBuffer(out_bytes_);
    const auto bits = encode(residual_);
    cuda_check(cudaMemcpy(residual_device_.as(), bits.data(), bits.size(), cudaMemcpyHostToDevice));
  }

  // From now on only the first `rows` of x.
  void keep_rows(int64_t rows) {
    case_.batch = rows;
    out_bytes_ = rows * outputs_ * bytes_of(case_.out_dtype, 1);
    out_ = DeviceBuffer(out_bytes_ + 2 * kGuardBytes);
  }

  int64_t blocks() const { return blocks_; }
  int64_t block_bytes() const { return block_bytes_; }

  TieredTensor placed(const std::vector<TierIndex>& tiers) const {
    TieredTensor tensor{
        .name = "test", .dtype = case_.dtype, .rows = case_.rows, .cols = case_.cols, .blocks = {}};
    std::byte* const arenas[] = {local_.as(), near_.data, far_.data};
    for (int64_t b = 0; b < blocks_; ++b) {
      const TierIndex tier = tiers[static_cast<size_t>(b)];
      tensor.blocks.push_back({arenas[tier] + b * block_bytes_, tier});
    }
    return tensor;
  }

  // Raw bytes of the output; throws when a guard byte changed.
  std::vector<std::byte> run(const TieredTensor& tensor, const LinkController& links,
                             KernelKind kernels) {
    const SplitWeight weight(tensor, 132, most_readers(), kernels);
    SplitWorkspace workspace;
    workspace.reserve(weight, case_.batch);
    cuda_check(
        cudaMemset(workspace.partials(), 0xff,
                   static_cast<size_t>(std::max<int64_t>(weight.partial_bytes(case_.batch), 16))));
    cuda_check(cudaMemset(out_.as(), kGuardValue, static_cast<size_t>(out_.size_bytes())));
    std::byte* out = out_.as() + kGuardBytes;
    cuda_check(cudaMemset(out, 0xff, static_cast<size_t>(out_bytes_)));
    // Twice, the second overlapping the first: counters must have been left as they were found.
    for (int i = 0; i < 2; ++i) {
      split_matmul(weight,
                   {.x = x_device_.as(),
                    .x_stride = x_stride_,
                    .batch = case_.batch,
                    .out = out,
                    .out_stride = outputs_,
                    .out_dtype = case_.out_dtype,
                    .bias = case_.bias ? bias_device_.as<float>() : nullptr,
                    .activation = case_.activation,
                    .gated = case_.gated,
                    .residual = case_.residual ? residual_device_.as() : nullptr},
                   workspace, links, nullptr);
    }
    cuda_check(cudaDeviceSynchronize());
    std::vector<std::byte> all(static_cast<size_t>(out_.size_bytes()));
    cuda_check(cudaMemcpy(all.data(), out_.as(), all.size(), cudaMemcpyDeviceToHost));
    for (int64_t i = 0; i < kGuardBytes; ++i) {
      require(all[static_cast<size_t>(i)] == std::byte{kGuardValue} &&
                  all[all.size() - 1 - static_cast<size_t>(i)] == std::byte{kGuardValue},
              "a guard byte around the output changed");
    }
    std::vector<std::byte> arrivals(static_cast<size_t>(blocks_ * 4));
    cuda_check(
        cudaMemcpy(arrivals.data(), workspace.arrivals(), arrivals.size(), cudaMemcpyDeviceToHost));
    for (const std::byte b : arrivals) require(b == std::byte{0}, "an arrival counter was left");
    return {all.begin() + kGuardBytes, all.end() - kGuardBytes};
  }

  // fp64 truth, and the error of a naive loop in the kernel's precision: f32 sums, rounded to the
  // output's type.
  std::vector<double> reference(double& naive_error) const {
    std::vector<double> truth;
    std::vector<float> naive;
    for (int64_t m = 0; m < case_.batch; ++m) {
      for (int64_t o = 0; o < outputs_; ++o) {
        const int64_t row = case_.gated ? o / 8 * 16 + o % 8 : o;
        double exact = 0;
        float sum = 0;
        dot(m, row, exact, sum);
        if (case_.bias) {
          exact += static_cast<double>(bias_[static_cast<size_t>(row)]);
          sum += bias_[static_cast<size_t>(row)];
        }
        exact = activated(case_.activation, exact);
        sum = static_cast<float>(activated(case_.activation, static_cast<double>(sum)));
        if (case_.gated) {
          double up = 0;
          float naive_up = 0;
          dot(m, row + 8, up, naive_up);
          exact *= up;
          sum *= naive_up;
        }
        if (case_.residual) {
          exact += static_cast<double>(residual_[static_cast<size_t>(m * outputs_ + o)]);
          sum += residual_[static_cast<size_t>(m * outputs_ + o)];
        }
        truth.push_back(exact);
        naive.push_back(rounded(sum, case_.out_dtype));
      }
    }
    naive_error = relative_error(naive, truth);
    return truth;
  }

  std::vector<float> decode(std::span<const std::byte> bytes) const {
    std::vector<float> values(static_cast<size_t>(case_.batch * outputs_));
    for (size_t i = 0; i < values.size(); ++i) {
      if (case_.out_dtype == DType::kF32) {
        std::memcpy(&values[i], bytes.data() + i * 4, 4);
        continue;
      }
      uint16_t bits = 0;
      std::memcpy(&bits, bytes.data() + i * 2, 2);
      values[i] = case_.out_dtype == DType::kBF16 ? bf16_to_f32(bits) : f16_to_f32(bits);
    }
    return values;
  }

 private:
  void dot(int64_t m, int64_t row, double& exact, float& naive) const {
    for (int64_t k = 0; k < case_.cols; ++k) {
      const float a = x_[static_cast<size_t>(m * case_.cols + k)];
      const float b = weight_[static_cast<size_t>(row * case_.cols + k)];
      exact += static_cast<double>(a) * static_cast<double>(b);
      naive += a * b;
    }
  }

  std::vector<std::byte> encode(std::span<const float> values) const {
    std::vector<std::byte> bytes(values.size() * static_cast<size_t>(bytes_of(case_.out_dtype, 1)));
    if (case_.out_dtype == DType::kF32) {
      std::memcpy(bytes.data(), values.data(), bytes.size());
    } else {
      const auto bits = to_half(values, case_.out_dtype);
      std::memcpy(bytes.data(), bits.data(), bytes.size());
    }
    return bytes;
  }

  // Rows padded with NaN up to the stride: the kernel must not read the padding.
  void upload_x() {
    std::vector<uint16_t> bits(static_cast<size_t>(case_.batch * x_stride_), 0x7fff);
    const auto packed = to_half(x_, case_.dtype);
    for (int64_t m = 0; m < case_.batch; ++m) {
      std::copy_n(packed.begin() + m * case_.cols, case_.cols, bits.begin() + m * x_stride_);
    }
    x_device_ = DeviceBuffer(static_cast<int64_t>(bits.size()) * 2);
    cuda_check(cudaMemcpy(x_device_.as(), bits.data(), bits.size() * 2, cudaMemcpyHostToDevice));
  }

  Case case_;
  int64_t outputs_;
  int64_t x_stride_;
  int64_t block_bytes_;
  int64_t blocks_;
  DeviceBuffer local_;
  HostBuffer near_;
  HostBuffer far_;
  std::vector<float> weight_;
  std::vector<float> x_;
  std::vector<float> bias_;
  std::vector<float> residual_;
  DeviceBuffer x_device_;
  DeviceBuffer bias_device_;
  DeviceBuffer residual_device_;
  DeviceBuffer out_;
  int64_t out_bytes_ = 0;
};

std::string describe(const Case& c) {
  return fmt::format("{} x[{}, {}] w[{}, {}] -> {}{}{}{}", name(c.dtype), c.batch, c.cols, c.rows,
                     c.cols, name(c.out_dtype), c.bias ? " bias" : "",
                     c.residual ? " residual" : "", c.gated ? " gated" : "");
}

using Kinds = std::vector<KernelKind>;

void run_case(const Case& c, const Kinds& kinds) {
  Fixture fixture(c);
  double naive_error = 0;
  const std::vector<double> truth = fixture.reference(naive_error);
  for (const KernelKind kernels : kinds) {
    LinkController links;
    std::vector<std::byte> first;
    int different = 0;
    int64_t remote_bytes = 0;
    for (const auto& tiers : placements(fixture.blocks())) {
      const auto out = fixture.run(fixture.placed(tiers), links, kernels);
      if (first.empty()) first = out;
      different += out != first;
      for (const TierIndex tier : tiers) remote_bytes += tier > 0 ? 2 * fixture.block_bytes() : 0;
    }
    const double error = relative_error(fixture.decode(first), truth);
    // A tenth of an output's last place, for naive loops that happen to be exact.
    const double limit = std::max(2 * naive_error, 1e-7);
    const int64_t counted = links.read(1, nullptr).read_bytes + links.read(2, nullptr).read_bytes;
    report(within(error, limit) && different == 0 && counted == remote_bytes,
           fmt::format(
               "{} {}: error {:.2e} (naive {:.2e}), {} placements differ, remote bytes read "
               "{} of {}",
               name(kernels), describe(c), error, naive_error, different, counted, remote_bytes));
  }
}

// The window must never change a bit, only the speed.
void run_windows() {
  const Case c{DType::kBF16, 8, 1024, 4096};
  Fixture fixture(c);
  const auto count = static_cast<size_t>(fixture.blocks());
  const TieredTensor local = fixture.placed(std::vector<TierIndex>(count, 0));
  const TieredTensor remote = fixture.placed(std::vector<TierIndex>(count, 1));
  LinkController links;
  const auto expected = fixture.run(local, links, KernelKind::kTma);
  for (const int64_t window : {8 << 10, 64 << 10, 1 << 20, 8 << 20}) {
    links.set_fixed_window(1, window);
    const bool same = fixture.run(remote, links, KernelKind::kTma) == expected;
    const LinkReading reading = links.read(1, nullptr);
    report(same && reading.window_bytes == window,
           fmt::format("fixed window {} KiB: delay {:.2f} us", window >> 10, reading.delay_us));
  }
  links.reset();
  for (int i = 0; i < 20; ++i) {
    if (fixture.run(remote, links, KernelKind::kTma) != expected) {
      report(false, "adaptive window changed the answer");
    }
  }
  const LinkReading reading = links.read(1, nullptr);
  report(
      reading.updates > 0 && reading.min_delay_us > 0 && reading.delay_us >= reading.min_delay_us,
      fmt::format("adaptive: window {} KiB, delay {:.2f} us, least {:.2f} us, {} updates",
                  reading.window_bytes >> 10, reading.delay_us, reading.min_delay_us,
                  reading.updates));
}

void run_comparator() {
  const std::vector<double> truth = {1.0, 2.0};
  const float nan = std::numeric_limits<float>::quiet_NaN();
  const float infinity = std::numeric_limits<float>::infinity();
  const auto passes = [&](float a, float b) {
    return within(relative_error(std::vector<float>{a, b}, truth), 1e-3);
  };
  report(passes(1.0f, 2.0f) && !passes(nan, 2.0f) && !passes(1.0f, infinity) && !passes(1.0f, 2.1f),
         "comparator refuses NaN, infinity and 2 %");
}

void run_refusals() {
  const Case c{DType::kBF16, 4, 128, 128};
  Fixture fixture(c);
  TieredTensor tensor = fixture.placed({0, 1});
  tensor.blocks.pop_back();
  report(throws([&] { SplitWeight(tensor, 132); }), "refuses a missing row block");
  tensor = fixture.placed({0, 1});
  tensor.dtype = DType::kF32;
  report(throws([&] { SplitWeight(tensor, 132); }), "refuses f32 weights");
  tensor = fixture.placed({0, 1});
  const SplitWeight weight(tensor, 132);
  SplitWorkspace workspace;
  workspace.reserve(weight, 4);
  const LinkController links;
  SplitMatmulArgs args{.x = weight.deal_for(1).items.as(),
                       .x_stride = 128,
                       .batch = 65,
                       .out = nullptr,
                       .out_stride = 128};
  report(throws([&] { split_matmul(weight, args, workspace, links, nullptr); }),
         "refuses batch 65");
  args.batch = 4;
  args.x_stride = 100;
  report(throws([&] { split_matmul(weight, args, workspace, links, nullptr); }),
         "refuses a short stride");
}

// Sequences of a batch do not mix: a row's bits are those it has alone.
void run_alone(KernelKind kernels) {
  const Case together{DType::kBF16, 5, 456, 1096};
  Fixture fixture(together);
  LinkController links;
  const TieredTensor tensor =
      fixture.placed(std::vector<TierIndex>(static_cast<size_t>(fixture.blocks()), 0));
  const auto all = fixture.run(tensor, links, kernels);
  fixture.keep_rows(1);
  const auto first = fixture.run(tensor, links, kernels);
  report(std::equal(first.begin(), first.end(), all.begin()),
         fmt::format("{}: a row alone has the bits it has in a batch of 5", name(kernels)));
}

// A probe that read less than it says, or waited for nothing, would be faster than a copy of the
// same bytes can be: that reads and writes them.
void run_probe(KernelKind kernels) {
  constexpr int64_t kBytes = int64_t{512} << 20;
  const DeviceBuffer from(kBytes);
  const DeviceBuffer to(kBytes);
  int sm_count = 0;
  cuda_check(cudaDeviceGetAttribute(&sm_count, cudaDevAttrMultiProcessorCount, 0));
  const double read = measure_read_bandwidth(
      {.data = from.as(), .size_bytes = kBytes, .thread_blocks = sm_count, .kernels = kernels}, 20);
  cudaEvent_t begin = nullptr;
  cudaEvent_t end = nullptr;
  cuda_check(cudaEventCreate(&begin));
  cuda_check(cudaEventCreate(&end));
  float best_ms = std::numeric_limits<float>::max();
  for (int i = 0; i < 20; ++i) {
    float ms = 0;
    cuda_check(cudaEventRecord(begin));
    cuda_check(cudaMemcpyAsync(to.as(), from.as(), kBytes, cudaMemcpyDeviceToDevice));
    cuda_check(cudaEventRecord(end));
    cuda_check(cudaEventSynchronize(end));
    cuda_check(cudaEventElapsedTime(&ms, begin, end));
    best_ms = std::min(best_ms, ms);
  }
  cuda_check(cudaEventDestroy(begin));
  cuda_check(cudaEventDestroy(end));
  const double copied = 2 * static_cast<double>(kBytes) / (best_ms * 1e-3);
  report(read > 0.7 * copied && read < 1.5 * copied,
         fmt::format("{}: probe reads {:.0f} GB/s, a copy moves {:.0f}", name(kernels), read / 1e9,
                     copied / 1e9));
}

void run_cases(const Kinds& kinds, bool quick) {
  // The last has readers go round their rings over row blocks that end in half a stage.
  const int64_t shapes[][2] = {{64, 64},    {200, 72},   {576, 576},
                               {1000, 100}, {320, 4200}, {4100, 320}};
  for (const DType dtype : {DType::kBF16, DType::kF16}) {
    for (const auto& [rows, cols] : shapes) {
      for (const int64_t batch : {1, 3, 8, 9, 16, 17, 32, 33, 64}) {
        if (quick && batch != 3 && batch != 64) continue;
        run_case({dtype, batch, rows, cols}, kinds);
      }
    }
  }
  for (const DType out : {DType::kBF16, DType::kF16, DType::kF32}) {
    run_case({DType::kBF16, 5, 456, 1096, out, true, true, false, Activation::kGeluTanh}, kinds);
    run_case({DType::kF16, 33, 456, 1096, out, true, false, false, Activation::kRelu}, kinds);
    run_case({DType::kBF16, 20, 1024, 2048, out, false, true, true, Activation::kSilu}, kinds);
    run_case({DType::kF16, 2, 48, 328, out, false, false, true, Activation::kGelu}, kinds);
  }
}

int run_all(const KernelSupport& support, bool quick) {
  run_comparator();
  run_refusals();
  Kinds kinds{KernelKind::kPlain};
  if (support.tma) {
    kinds.insert(kinds.begin(), KernelKind::kTma);
  } else {
    fmt::print("without the TMA kernels: {}\n", support.missing);
  }
  run_cases(kinds, quick);
  for (const KernelKind kernels : kinds) {
    run_alone(kernels);
    if (!quick) run_probe(kernels);
  }
  if (support.tma) run_windows();
  fmt::print("{}: {} failures\n", failures == 0 ? "PASSED" : "FAILED", failures);
  return failures == 0 ? 0 : 1;
}

}  // namespace
}  // namespace dak

int main(int argc, char** argv) {
  std::setvbuf(stdout, nullptr, _IOLBF, 0);  // a run that is cut off shows how far it came
  if (!dak::has_cuda_device()) {
    fmt::print("no CUDA device: skipped\n");
    return 0;
  }
  const dak::KernelSupport support = dak::supported_kernels(0);
  if (!support.plain) {
    fmt::print("no CUDA device for this build: skipped: {}\n", support.missing);
    return 0;
  }
  try {
    // --quick: the subset that fits under compute-sanitizer.
    return dak::run_all(support, argc > 1 && std::string_view(argv[1]) == "--quick");
  } catch (const std::exception& error) {
    fmt::print("FAIL {}\n", error.what());
    return 1;
  }
}
