#include "gpu/lt_matmul.h"

#include <string>

#include "base/error.h"

namespace dak::bench {
namespace {

constexpr int64_t kWorkspaceBytes = int64_t{32} << 20;  // what cuBLAS takes on Hopper

void check(cublas::Status status, const char* what) {
  if (status != 0) throw_invalid("cuBLASLt", what, std::to_string(status), "failed");
}

}  // namespace

// cuBLASLt counts columns first, so what is row-major here is transposed there:
// out^T [rows, tokens] = w [rows, cols] x^T [cols, tokens], w being its own transpose.
LtMatmul::LtMatmul(int64_t tokens, int64_t rows, int64_t cols, int wanted)
    : lt_(CublasLt::get()), workspace_(kWorkspaceBytes) {
  check(lt_.create(&handle_), "create");
  check(lt_.desc_create(&desc_, cublas::kCompute32F, CUDA_R_32F), "description");
  check(
      lt_.desc_set(desc_, cublas::kDescTransposeA, &cublas::kTranspose, sizeof(cublas::kTranspose)),
      "transposition");
  const auto layout = [this](cublas::MatrixLayout& made, int64_t height, int64_t width) {
    check(lt_.layout_create(&made, CUDA_R_16BF, static_cast<uint64_t>(height),
                            static_cast<uint64_t>(width), height),
          "layout");
  };
  layout(weight_, cols, rows);
  layout(x_, cols, tokens);
  layout(out_, rows, tokens);
  cublas::Preference preference = nullptr;
  check(lt_.preference_create(&preference), "preference");
  const auto most = static_cast<size_t>(kWorkspaceBytes);
  check(lt_.preference_set(preference, cublas::kPreferenceWorkspaceBytes, &most, sizeof(most)),
        "workspace");
  found_.resize(static_cast<size_t>(wanted));
  int count = 0;
  check(lt_.heuristic(handle_, desc_, weight_, x_, out_, out_, preference, wanted, found_.data(),
                      &count),
        "heuristic");
  found_.resize(static_cast<size_t>(count));
  lt_.preference_destroy(preference);
}

LtMatmul::~LtMatmul() {
  for (cublas::MatrixLayout layout : {weight_, x_, out_}) lt_.layout_destroy(layout);
  lt_.desc_destroy(desc_);
  lt_.destroy(handle_);
}

void LtMatmul::enqueue(size_t algorithm, const void* w, const void* x, void* out,
                       cudaStream_t stream) {
  const float one = 1;
  const float zero = 0;
  check(lt_.matmul(handle_, desc_, &one, w, weight_, x, x_, &zero, out, out_, out, out_,
                   &found_[algorithm].algorithm, workspace_.as(), kWorkspaceBytes, stream),
        "matmul");
}

}  // namespace dak::bench
