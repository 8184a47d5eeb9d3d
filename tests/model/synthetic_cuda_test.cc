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
    const auto all = test::bytes_of_weights(on_cpu);
    const Program& program = on_gpu.declared.program;
    const auto compare = [&](const std::string& name, const auto& append_all) {
      test::Bytes found;
      append_all([&](const void* at, int64_t size_bytes) {
        auto* data = static_cast<std::byte*>(const_cast<void*>(at));
        const auto words = gpu.values(make_tensor(data, DType::kF32, 1, size_bytes / 4));
        const auto bytes = std::as_bytes(std::span(words));
        found.insert(found.end(), bytes.begin(), bytes.end());
      });
      EXPECT_TRUE(found == all.at(name)) << model << ": " << name;
    };
    for (const VectorId id : program.vector_ids()) {
      const VectorDecl& vector = program.vector(id);
      compare(vector.name(), [&](const auto& append) {
        append(on_gpu.weights.vector(id), bytes_of(DType::kF32, vector.size()));
      });
    }
    for (const MatrixId id : program.matrix_ids()) {
      const TieredTensor& tensor = on_gpu.weights.matrix(id);
      compare(tensor.name, [&](const auto& append) {
        for (const RowBlock& block : tensor.blocks) append(block.data, tensor.block_bytes());
      });
    }
  }
}

}  // namespace
}  // namespace dak
