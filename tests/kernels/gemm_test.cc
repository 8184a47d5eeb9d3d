// GEMM of many rows on a real GPU against fp64, and against itself bit by bit over placements,
// tiles, clusters and orders. Its own main, like split_matmul_test.cc.
#include "kernels/gemm.h"

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <limits>
#include <string_view>

#include "kernels/device_buffer.h"
#include "kernels/kernel_kind.h"
#include "tests/kernels/case_support.h"
#include "tests/support/matrix_unit.h"

namespace dak {
namespace {

struct Case {
  DType dtype;
  int64_t tokens;
  int64_t rows;
  int64_t cols;
  DType out_dtype = DType::kF32;
  bool bias = false;
  bool residual = false;
  bool gated = false;
  Activation activation = Activation::kNone;
  int64_t pad = 0;        // elements between rows of out beyond its columns
  bool in_place = false;  // the residual is the output itself
};

// One case's data in every tier: tier 0 is HBM, tiers 1 and 2 are two host arenas.
class Fixture {
 public:
  explicit Fixture(const Case& c)
      : case_(c),
        outputs_(c.gated ? c.rows / 2 : c.rows),
        x_stride_((c.cols + 7) / 8 * 8),
        out_stride_(outputs_ + c.pad),
        block_bytes_(row_block_bytes(c.cols, c.dtype)),
        blocks_(row_blocks_of(c.rows)),
        local_(blocks_ * block_bytes_),
        near_(blocks_ * block_bytes_),
        far_(blocks_ * block_bytes_),
        bias_device_(c.rows * 4) {
    std::mt19937 rng(static_cast<uint32_t>(c.rows * 31 + c.cols * 7 + c.tokens));
    weight_ = random_values(c.rows * c.cols, c.dtype, rng);
    x_ = random_values(c.tokens * c.cols, c.dtype, rng);
    bias_ = random_values(c.rows, DType::kF32, rng);
    residual_ = random_values(c.tokens * out_stride_, c.out_dtype, rng);
    for (int64_t b = 0; b < blocks_; ++b) {
      pack_row_block(weight_.data() + b * 64 * c.cols, std::min<int64_t>(64, c.rows - b * 64),
                     c.cols, c.dtype, near_.data + b * block_bytes_);
    }
    std::memcpy(far_.data, near_.data, static_cast<size_t>(blocks_ * block_bytes_));
    upload(local_, near_.data, blocks_ * block_bytes_);
    upload(bias_device_, bias_.data(), c.rows * 4);
    upload_x();
    out_bytes_ = c.tokens * out_stride_ * bytes_of(c.out_dtype, 1);
    out_ = DeviceBuffer(out_bytes_ + 2 * kGuardBytes);
    residual_device_ = DeviceBuffer(out_bytes_);
    const std::vector<std::byte> bits = encode(residual_);
    upload(residual_device_, bits.data(), out_bytes_);
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

  // Raw bytes of the output, of tokens [first, first + count); throws when a guard byte changed or
  // a counter was left. The ring holds as few row blocks as it may, all NaN before.
  std::vector<std::byte> run(const TieredTensor& tensor, const LinkController& links,
                             const GemmForm& form, int64_t first, int64_t count) {
    const GemmWeight weight(tensor);
    GemmWorkspace workspace;
    workspace.reserve(weight, /*ring_bytes=*/1);
    for (int i = 0; i < 2 && workspace.size_bytes() > 0; ++i) {
      const GemmWorkspace::Half half = workspace.next_half();
      cuda_check(cudaMemset(half.ring, 0xff, static_cast<size_t>(half.ring_bytes)));
    }
    const int64_t row_bytes = out_stride_ * bytes_of(case_.out_dtype, 1);
    cuda_check(cudaMemset(out_.as(), kGuardValue, static_cast<size_t>(out_.size_bytes())));
    std::byte* out = out_.as() + kGuardBytes + first * row_bytes;
    // Three times, each overlapping the one before, the first fetching for the second: counters
    // must be left as they were found, and both halves of the workspace are used again.
    for (int i = 0; i < 3; ++i) {
      for (int64_t row = 0; case_.in_place && row < count; ++row) {
        cuda_check(cudaMemcpyAsync(out + row * row_bytes,
                                   residual_device_.as() + (first + row) * row_bytes,
                                   static_cast<size_t>(outputs_ * bytes_of(case_.out_dtype, 1)),
                                   cudaMemcpyDeviceToDevice));
      }
      gemm(weight,
           {.x = x_device_.as() + first * x_stride_ * 2,
            .x_stride = x_stride_,
            .tokens = count,
            .out = out,
            .out_stride = out_stride_,
            .out_dtype = case_.out_dtype,
            .bias = case_.bias ? bias_device_.as<float>() : nullptr,
            .activation = case_.activation,
            .gated = case_.gated,
            .residual = case_.in_place   ? out
                        : case_.residual ? residual_device_.as() + first * row_bytes
                                         : nullptr,
            .ahead = i == 0 && form.ring
                         ? std::array{weight.feed(workspace.half_of_next(1)), GemmFeed{}}
                         : std::array<GemmFeed, kGemmAhead>{},
            .form = form},
           workspace, links, nullptr);
    }
    cuda_check(cudaDeviceSynchronize());
    for (int i = 0; i < 2 && workspace.size_bytes() > 0; ++i) {
      std::vector<std::byte> words(static_cast<size_t>(weight.counter_bytes()));
      cuda_check(cudaMemcpy(words.data(), workspace.next_half().counters, words.size(),
                            cudaMemcpyDeviceToHost));
      for (const std::byte b : words) require(b == std::byte{0}, "a counter was left");
    }
    std::vector<std::byte> all(static_cast<size_t>(out_.size_bytes()));
    cuda_check(cudaMemcpy(all.data(), out_.as(), all.size(), cudaMemcpyDeviceToHost));
    const auto begin = static_cast<size_t>(kGuardBytes + first * row_bytes);
    const auto end = begin + static_cast<size_t>(count * row_bytes);
    const auto used = static_cast<size_t>(outputs_ * bytes_of(case_.out_dtype, 1));
    for (size_t i = 0; i < all.size(); ++i) {
      const bool inside =
          i >= begin && i < end && (i - begin) % static_cast<size_t>(row_bytes) < used;
      if (!inside) require(all[i] == std::byte{kGuardValue}, "a byte beside the output changed");
    }
    return {all.begin() + static_cast<std::ptrdiff_t>(begin),
            all.begin() + static_cast<std::ptrdiff_t>(end)};
  }
  std::vector<std::byte> run(const TieredTensor& tensor, const LinkController& links,
                             const GemmForm& form) {
    return run(tensor, links, form, 0, case_.tokens);
  }

  // Errors of some outputs, the borders of tiles among them, against fp64: the kernel's and that
  // of a naive loop of matrix instructions, rounded to the output's type.
  struct Errors {
    double kernel;
    double naive;
  };
  Errors errors(std::span<const std::byte> out) const {
    std::vector<double> truth;
    std::vector<float> naive;
    std::vector<float> got;
    for (const int64_t m : samples(case_.tokens, 37)) {
      for (const int64_t o : samples(outputs_, 41)) {
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
        const auto index = static_cast<size_t>(m * out_stride_ + o);
        if (case_.residual || case_.in_place) {
          exact += static_cast<double>(residual_[index]);
          sum += residual_[index];
        }
        truth.push_back(exact);
        naive.push_back(rounded(sum, case_.out_dtype));
        got.push_back(decode(out, index));
      }
    }
    return {.kernel = relative_error(got, truth), .naive = relative_error(naive, truth)};
  }

 private:
  // Every `step`-th of `count`, and both sides of each multiple of 64.
  static std::vector<int64_t> samples(int64_t count, int64_t step) {
    std::vector<int64_t> chosen;
    for (int64_t i = 0; i < count; ++i) {
      if (count <= 130 || i % step == 0 || i + 1 == count || (i % 64 == 0 && i < 600) ||
          (i % 64 == 63 && i < 600)) {
        chosen.push_back(i);
      }
    }
    return chosen;
  }

  static void upload(const DeviceBuffer& buffer, const void* from, int64_t bytes) {
    cuda_check(cudaMemcpy(buffer.as(), from, static_cast<size_t>(bytes), cudaMemcpyHostToDevice));
  }

  void dot(int64_t m, int64_t row, double& exact, float& naive) const {
    test::MatrixUnitSum chain;
    for (int64_t k = 0; k < case_.cols; ++k) {
      const float a = x_[static_cast<size_t>(m * case_.cols + k)];
      const float b = weight_[static_cast<size_t>(row * case_.cols + k)];
      exact += static_cast<double>(a) * static_cast<double>(b);
      chain.add(static_cast<double>(a) * static_cast<double>(b));
    }
    naive = chain.value();
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

  float decode(std::span<const std::byte> bytes, size_t index) const {
    if (case_.out_dtype == DType::kF32) {
      float value = 0;
      std::memcpy(&value, bytes.data() + index * 4, 4);
      return value;
    }
    uint16_t bits = 0;
    std::memcpy(&bits, bytes.data() + index * 2, 2);
    return case_.out_dtype == DType::kBF16 ? bf16_to_f32(bits) : f16_to_f32(bits);
  }

  // Rows padded with NaN up to the stride: the kernel must not read the padding.
  void upload_x() {
    std::vector<uint16_t> bits(static_cast<size_t>(case_.tokens * x_stride_), 0x7fff);
    const auto packed = to_half(x_, case_.dtype);
    for (int64_t m = 0; m < case_.tokens; ++m) {
      std::copy_n(packed.begin() + m * case_.cols, case_.cols, bits.begin() + m * x_stride_);
    }
    x_device_ = DeviceBuffer(static_cast<int64_t>(bits.size()) * 2);
    upload(x_device_, bits.data(), x_device_.size_bytes());
  }

  Case case_;
  int64_t outputs_;
  int64_t x_stride_;
  int64_t out_stride_;
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
  return fmt::format("{} x[{}, {}] w[{}, {}] -> {}{}{}{}", name(c.dtype), c.tokens, c.cols, c.rows,
                     c.cols, name(c.out_dtype), c.bias ? " bias" : "",
                     c.in_place   ? " in place"
                     : c.residual ? " residual"
                                  : "",
                     c.gated ? " gated" : "");
}

int64_t remote_blocks(const std::vector<TierIndex>& tiers) {
  return std::ranges::count_if(tiers, [](TierIndex tier) { return tier > 0; });
}

int64_t read_bytes(const LinkController& links) {
  return links.read(1, nullptr).read_bytes + links.read(2, nullptr).read_bytes;
}

// Over placements, through the ring: every remote byte once.
void run_case(const Case& c) {
  Fixture fixture(c);
  const LinkController links;
  std::vector<std::byte> first;
  int different = 0;
  int64_t expected = 0;
  for (const auto& tiers : placements(fixture.blocks())) {
    const GemmForm forms[] = {
        {}, {.token_tile = 128}, {.token_tile = 256}, {.token_tile = 256, .halves = false}};
    for (const GemmForm& form : forms) {
      const auto out = fixture.run(fixture.placed(tiers), links, form);
      if (first.empty()) first = out;
      different += out != first;
      expected += 3 * remote_blocks(tiers) * fixture.block_bytes();
    }
  }
  const Fixture::Errors errors = fixture.errors(first);
  // A tenth of an output's last place, for naive loops that happen to be exact.
  const double limit = std::max(2 * errors.naive, 1e-7);
  const int64_t counted = read_bytes(links);
  report(within(errors.kernel, limit) && different == 0 && counted == expected,
         fmt::format("{}: error {:.2e} (naive {:.2e}), {} differ, remote bytes read {} of {}",
                     describe(c), errors.kernel, errors.naive, different, counted, expected));
}

// Clusters, orders, through the ring or not: the same bits, and as many bytes as the cluster says.
void run_forms(const Case& c) {
  Fixture fixture(c);
  const auto tiers = placements(fixture.blocks()).back();
  const TieredTensor tensor = fixture.placed(tiers);
  const LinkController reference_links;
  const auto expected =
      fixture.run(fixture.placed(std::vector<TierIndex>(tiers.size(), 0)), reference_links, {});
  constexpr int kRanks[][2] = {{1, 1}, {2, 1}, {1, 2}, {2, 2}, {1, 4}, {1, 8}, {2, 8}, {1, 16}};
  for (const int tile : {128, 256}) {
    for (const auto& [weight_ranks, token_ranks] : kRanks) {
      for (const bool ring : {true, false}) {
        for (const GemmOrder order : {GemmOrder::kSpread, GemmOrder::kFirst, GemmOrder::kLast}) {
          if (order != GemmOrder::kSpread && weight_ranks * token_ranks > 2) continue;
          const bool halves = order != GemmOrder::kFirst;
          LinkController links;
          const auto out = fixture.run(tensor, links,
                                       {.token_tile = tile,
                                        .weight_ranks = weight_ranks,
                                        .token_ranks = token_ranks,
                                        .ring = ring,
                                        .order = order,
                                        .halves = halves,
                                        .readers = halves ? 0 : 3});
          const int64_t together = int64_t{tile} * token_ranks;
          const int64_t times = ring ? 1 : (c.tokens + together - 1) / together;
          const int64_t bytes = 3 * times * remote_blocks(tiers) * fixture.block_bytes();
          const int64_t counted = read_bytes(links);
          report(out == expected && counted == bytes,
                 fmt::format("{} tile {} cluster {} x {} {} order {}: remote bytes {} of {}",
                             describe(c), tile, weight_ranks, token_ranks, ring ? "ring" : "direct",
                             static_cast<int>(order), counted, bytes));
        }
      }
    }
  }
}

// However a prompt is cut, a token's bits are the same.
void run_chunks() {
  const Case c{DType::kBF16, 700, 456, 1096};
  Fixture fixture(c);
  const LinkController links;
  const TieredTensor tensor =
      fixture.placed(std::vector<TierIndex>(static_cast<size_t>(fixture.blocks()), 1));
  const auto all = fixture.run(tensor, links, {});
  for (const int64_t chunk : {65, 128, 300, 512}) {
    std::vector<std::byte> parts;
    for (int64_t first = 0; first < c.tokens; first += chunk) {
      const auto part = fixture.run(tensor, links, {}, first, std::min(chunk, c.tokens - first));
      parts.insert(parts.end(), part.begin(), part.end());
    }
    report(parts == all, fmt::format("{} tokens in chunks of {}: the same bits", c.tokens, chunk));
  }
}

// The window must never change a bit, only the speed.
void run_windows() {
  const Case c{DType::kBF16, 200, 2048, 4096};
  Fixture fixture(c);
  const auto count = static_cast<size_t>(fixture.blocks());
  const TieredTensor remote = fixture.placed(std::vector<TierIndex>(count, 1));
  LinkController links;
  const auto expected = fixture.run(fixture.placed(std::vector<TierIndex>(count, 0)), links, {});
  for (const int64_t window : {8 << 10, 64 << 10, 1 << 20}) {
    links.set_fixed_window(1, window);
    const bool same = fixture.run(remote, links, {}) == expected;
    const LinkReading reading = links.read(1, nullptr);
    report(same && reading.window_bytes == window,
           fmt::format("fixed window {} KiB: delay {:.2f} us", window >> 10, reading.delay_us));
  }
  links.reset();
  bool same = true;
  for (int i = 0; i < 10; ++i) same = same && fixture.run(remote, links, {}) == expected;
  const LinkReading reading = links.read(1, nullptr);
  report(same && reading.updates > 0 && reading.min_delay_us > 0 &&
             reading.delay_us >= reading.min_delay_us,
         fmt::format("adaptive: window {} KiB, delay {:.2f} us, least {:.2f} us, {} updates, "
                     "{:.1f} GB/s",
                     reading.window_bytes >> 10, reading.delay_us, reading.min_delay_us,
                     reading.updates, reading.read_bytes_per_s / 1e9));
}

void run_refusals() {
  const Case c{DType::kBF16, 70, 128, 128};
  Fixture fixture(c);
  TieredTensor tensor = fixture.placed({0, 1});
  tensor.blocks.pop_back();
  report(throws([&] { GemmWeight{tensor}; }), "refuses a missing row block");
  tensor = fixture.placed({0, 1});
  tensor.dtype = DType::kF32;
  report(throws([&] { GemmWeight{tensor}; }), "refuses f32 weights");
  const GemmWeight weight(fixture.placed({0, 1}));
  GemmWorkspace workspace;
  const LinkController links;
  const DeviceBuffer memory(70 * 128 * 4);
  const auto refused = [&](const GemmArgs& args) {
    return throws([&] { gemm(weight, args, workspace, links, nullptr); });
  };
  const GemmArgs good{
      .x = memory.as(), .x_stride = 128, .tokens = 70, .out = memory.as(), .out_stride = 128};
  report(refused(good), "refuses a workspace that was not reserved");
  workspace.reserve(weight);
  GemmArgs args = good;
  args.x_stride = 100;
  report(refused(args), "refuses a short stride");
  args = good;
  args.form.token_ranks = 3;
  report(refused(args), "refuses three token ranks");
  args = good;
  args.tokens = 0;
  report(refused(args), "refuses no tokens");
  cuda_check(cudaDeviceSynchronize());
}

void run_cases(bool quick) {
  // The last but one wraps round the smallest ring many times, the last has a long K.
  const int64_t shapes[][2] = {{64, 64},    {200, 72},   {576, 576},
                               {1000, 100}, {4100, 320}, {320, 4200}};
  for (const DType dtype : {DType::kBF16, DType::kF16}) {
    for (const auto& [rows, cols] : shapes) {
      for (const int64_t tokens : {1, 65, 129, 256, 300, 1030}) {
        if (quick && tokens != 300) continue;
        run_case({dtype, tokens, rows, cols});
      }
    }
  }
  for (const DType out : {DType::kBF16, DType::kF16, DType::kF32}) {
    if (quick && out == DType::kF16) continue;
    run_case({DType::kBF16, 90, 456, 1096, out, true, true, false, Activation::kGeluTanh});
    run_case({DType::kF16, 270, 456, 200, out, true, false, false, Activation::kRelu, 4});
    run_case({DType::kBF16, 270, 1024, 712, out, false, true, true, Activation::kSilu, 3});
    run_case({DType::kF16, 65, 48, 328, out, false, false, true, Activation::kGelu});
    run_case({DType::kBF16, 300, 528, 328, out, false, false, true, Activation::kSilu});
    run_case({.dtype = DType::kBF16,
              .tokens = 290,
              .rows = 456,
              .cols = 328,
              .out_dtype = out,
              .bias = true,
              .in_place = true});
  }
}

int run_all(bool quick) {
  run_refusals();
  run_cases(quick);
  if (!quick) run_forms({DType::kBF16, 600, 1000, 1160});
  run_forms({DType::kF16, 300, 500, 200, DType::kF16, true});
  run_chunks();
  run_windows();
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
  if (!dak::supported_kernels(0).tma) {
    fmt::print("no CUDA device with TMA: skipped\n");
    return 0;
  }
  try {
    // --quick: the subset that fits under compute-sanitizer.
    return dak::run_all(argc > 1 && std::string_view(argv[1]) == "--quick");
  } catch (const std::exception& error) {
    fmt::print("FAIL {}\n", error.what());
    return 1;
  }
}
