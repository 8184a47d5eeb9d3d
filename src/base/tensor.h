// A dense, row-major view of memory that somebody else owns.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

#include "base/dtype.h"
#include "base/error.h"

namespace dak {

// Up to three dimensions, the last contiguous.
struct Tensor {
  std::byte* data = nullptr;
  DType dtype = DType::kF32;
  int rank = 0;
  std::array<int64_t, 3> shape{};

  int64_t dim(int i) const { return shape[static_cast<size_t>(i)]; }
  int64_t elements() const {
    int64_t count = 1;
    for (int i = 0; i < rank; ++i) count *= dim(i);
    return count;
  }
  int64_t size_bytes() const { return bytes_of(dtype, elements()); }

  float* f32() const {
    require(dtype == DType::kF32, "tensor is not f32");
    return reinterpret_cast<float*>(data);
  }
  // Row `r` of a matrix of f32.
  std::span<float> row(int64_t r) const {
    return {f32() + r * dim(rank - 1), static_cast<size_t>(dim(rank - 1))};
  }
  // The same storage as [dim 0, everything else].
  Tensor as_matrix() const {
    return {.data = data, .dtype = dtype, .rank = 2, .shape = {dim(0), elements() / dim(0), 1}};
  }
  // The first `rows` rows, same storage.
  Tensor first_rows(int64_t rows) const {
    Tensor view = *this;
    view.shape[0] = rows;
    return view;
  }
};

inline Tensor make_tensor(std::byte* data, DType dtype, int64_t rows, int64_t cols) {
  return {.data = data, .dtype = dtype, .rank = 2, .shape = {rows, cols, 1}};
}

}  // namespace dak
