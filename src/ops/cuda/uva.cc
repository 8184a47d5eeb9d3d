#include "ops/cuda/uva.h"

#include <algorithm>

#include "base/error.h"
#include "ops/cuda_backend.h"

namespace dak {
namespace {

constexpr uint32_t kAlignmentBytes = 16;  // of x's rows; the other operands have more

void check(cublas::Status status, const char* what) {
  if (status == 0) return;
  throw Error(ErrorCode::kInternal, {.where = "cuBLASLt",
                                     .field = what,
                                     .value = std::to_string(status),
                                     .problem = "failed",
                                     .fix = "use another --mode"});
}

}  // namespace

UvaMatmul::UvaMatmul(std::byte* memory, int64_t size_bytes, cudaStream_t stream)
    : lt_(CublasLt::get()),
      workspace_(memory),
      sums_(reinterpret_cast<float*>(memory + kUvaWorkspaceBytes)),
      sums_bytes_(size_bytes - kUvaWorkspaceBytes),
      stream_(stream) {
  require(sums_bytes_ >= 0, "mode uva without its workspace");
  check(lt_.create(&handle_), "create");
}

UvaMatmul::~UvaMatmul() {
  for (auto& [shape, made] : prepared_) {
    for (cublas::MatrixLayout layout : {made.weight, made.x, made.out}) {
      if (layout != nullptr) lt_.layout_destroy(layout);
    }
    if (made.desc != nullptr) lt_.desc_destroy(made.desc);
  }
  if (handle_ != nullptr) lt_.destroy(handle_);
}

int64_t UvaMatmul::rows_of_sums(int64_t n) const {
  const int64_t rows = sums_bytes_ / (n * static_cast<int64_t>(sizeof(float)));
  require(rows > 0, "mode uva without room for its sums");
  return rows;
}

void UvaMatmul::multiply(const TieredTensor& w, const std::byte* x, int64_t x_stride, int64_t m,
                         float* out) {
  const Prepared& made = prepared({w.rows, w.cols, x_stride, m, w.dtype});
  const float one = 1;
  const float zero = 0;
  check(lt_.matmul(handle_, made.desc, &one, w.blocks[0].data, made.weight, x, made.x, &zero, out,
                   made.out, out, made.out, &made.algorithm, workspace_,
                   static_cast<size_t>(kUvaWorkspaceBytes), stream_),
        "matmul");
}

// cuBLASLt counts columns first, so what is row-major here is transposed there:
// out^T [rows, m] = w [rows, cols] x^T [cols, m], w being its own transpose.
const UvaMatmul::Prepared& UvaMatmul::prepared(const Shape& shape) {
  Prepared& made = prepared_[shape];
  if (made.chosen) return made;
  require(made.desc == nullptr, "cuBLASLt refused this shape before");
  const auto& [rows, cols, x_stride, m, dtype] = shape;
  if (dtype != DType::kF16 && dtype != DType::kBF16)
    refuse_dtype("cuBLASLt", dtype, "f16 and bf16");
  const cudaDataType_t type = dtype == DType::kF16 ? CUDA_R_16F : CUDA_R_16BF;
  check(lt_.desc_create(&made.desc, cublas::kCompute32F, CUDA_R_32F), "description");
  check(lt_.desc_set(made.desc, cublas::kDescTransposeA, &cublas::kTranspose,
                     sizeof(cublas::kTranspose)),
        "transposition");
  const auto layout = [this](cublas::MatrixLayout& out, cudaDataType_t element, int64_t height,
                             int64_t width, int64_t leading) {
    check(lt_.layout_create(&out, element, static_cast<uint64_t>(height),
                            static_cast<uint64_t>(width), leading),
          "layout");
  };
  layout(made.weight, type, cols, rows, cols);
  layout(made.x, type, cols, m, x_stride);
  layout(made.out, CUDA_R_32F, rows, m, rows);
  choose_algorithm(made, shape);
  return made;
}

void UvaMatmul::choose_algorithm(Prepared& made, const Shape& shape) const {
  cublas::Preference preference = nullptr;
  check(lt_.preference_create(&preference), "preference");
  const auto most = static_cast<size_t>(kUvaWorkspaceBytes);
  cublas::Status status =
      lt_.preference_set(preference, cublas::kPreferenceWorkspaceBytes, &most, sizeof(most));
  for (const int attribute : cublas::kPreferenceAlignmentBytes) {
    status = std::max(status, lt_.preference_set(preference, attribute, &kAlignmentBytes,
                                                 sizeof(kAlignmentBytes)));
  }
  cublas::HeuristicResult result{};
  int found = 0;
  if (status == 0) {
    status = lt_.heuristic(handle_, made.desc, made.weight, made.x, made.out, made.out, preference,
                           1, &result, &found);
  }
  lt_.preference_destroy(preference);
  check(status, "heuristic");
  if (found == 0 || result.status != 0) {
    throw_unsupported("--mode", {}, "uva",
                      fmt::format("cuBLASLt has no algorithm for [{}, {}] at batch {}",
                                  std::get<0>(shape), std::get<1>(shape), std::get<3>(shape)),
                      "use another mode");
  }
  made.algorithm = result.algorithm;
  made.chosen = true;
}

}  // namespace dak
