#include "bench/cpu_ops.h"
#include "hardware/read_bandwidth.h"
#include "ops/matmul.h"

namespace dak::bench {
namespace {

struct Product {
  Shape shape;
  uint32_t seed;
  TieredTensor weight;
  Tensor x;
  Tensor out;
};

}  // namespace

DecodeResult measure_decode(OpContext& ctx, std::string_view model, const Shape* layer,
                            size_t shapes, int64_t bytes, int repeats) {
  int64_t layer_bytes = 0;
  int64_t widest = 0;
  for (size_t i = 0; i < shapes; ++i) {
    layer_bytes += weight_bytes(layer[i], DType::kBF16);
    widest = std::max({widest, layer[i].rows, layer[i].cols});
  }
  require(layer_bytes > 0, "a layer without shapes");
  const int64_t layers = (bytes + layer_bytes - 1) / layer_bytes;
  const auto count = static_cast<size_t>(layers) * shapes;
  const int64_t total = layers * layer_bytes;
  const auto arena = make_cpu_arena({.name = "local", .capacity_bytes = total, .channel = {}});
  const std::span<std::byte> memory(arena->allocate(total), static_cast<size_t>(total));

  std::vector<float> x(static_cast<size_t>(widest));
  for (size_t i = 0; i < x.size(); ++i) x[i] = input_value(0, static_cast<int64_t>(i));
  std::vector<float> out(static_cast<size_t>(widest));
  std::vector<Product> products;
  std::byte* next = memory.data();
  for (size_t i = 0; i < count; ++i) {
    const Shape& shape = layer[i % shapes];
    const auto seed = static_cast<uint32_t>(i);
    products.push_back(
        {.shape = shape,
         .seed = seed,
         .weight = make_weight(next, *ctx.pool, shape, DType::kBF16, seed),
         .x = make_tensor(reinterpret_cast<std::byte*>(x.data()), DType::kF32, 1, shape.cols),
         .out = make_tensor(reinterpret_cast<std::byte*>(out.data()), DType::kF32, 1, shape.rows)});
    next += weight_bytes(shape, DType::kBF16);
  }
  for (const Product& p : products) {
    matmul(ctx, p.x, p.weight, p.out);
    verify(p.x, p.shape, p.seed, p.out);
  }

  DecodeResult result{.model = std::string(model), .bytes = total, .read = {}, .matmul = {}};
  Times ratios;
  for (int i = 0; i < repeats; ++i) {
    // Back to back, so that what else the machine does weighs on both.
    const double read = time_read_pass(*ctx.pool, memory);
    const double matmul_time = seconds_of([&] {
      for (const Product& p : products) matmul(ctx, p.x, p.weight, p.out);
    });
    result.read.seconds.push_back(read);
    result.matmul.seconds.push_back(matmul_time);
    ratios.seconds.push_back(read / matmul_time);
  }
  result.ratio = ratios.median();
  return result;
}

}  // namespace dak::bench
