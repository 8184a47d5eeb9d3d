// On a GPU: synthetic weights are the CPU's, bit for bit, wherever they lie.
#include "model/synthetic_support.h"
#include "support/cuda.h"

namespace dak {
namespace {

TEST(SyntheticCuda, WeightsHaveTheCpusBits) {
  if (const std::string reason = test::no_gpu(); !reason.empty()) GTEST_SKIP() << reason;
  test::Gpu gpu;
  for (const char* model : {"smollm2", "opt"}) {
    const std::string config =
        test::test_data(DAK_TEST_DATA) + "/model/hf/" + model + "/config.json";
    EngineOptions options{.offload_ratio = 0.5, .context = 64, .dtype = DType::kBF16};
    const test::SyntheticModel on_cpu(config, options, 1);
    options.device.backend = Backend::kCuda;
    const test::SyntheticModel on_gpu(config, options, 1);
    for (const auto& [name, expected] : test::bytes_of_weights(on_cpu)) {
      test::Bytes found;
      const auto append = [&](const void* at, int64_t size_bytes) {
        auto* data = static_cast<std::byte*>(const_cast<void*>(at));
        const auto words = gpu.values(make_tensor(data, DType::kF32, 1, size_bytes / 4));
        const auto bytes = std::as_bytes(std::span(words));
        found.insert(found.end(), bytes.begin(), bytes.end());
      };
      if (const float* vector = on_gpu.weights.vector(name); vector != nullptr) {
        append(vector, std::ssize(expected));
      } else {
        const TieredTensor& tensor = on_gpu.weights.matrix(name);
        for (const RowBlock& block : tensor.blocks) append(block.data, tensor.block_bytes());
      }
      EXPECT_TRUE(found == expected) << model << ": " << name;
    }
  }
}

}  // namespace
}  // namespace dak
