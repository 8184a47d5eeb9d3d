// What every product over row blocks refuses, whatever its kernel.
#pragma once

#include <cstdint>
#include <string>

#include "base/dtype.h"
#include "base/error.h"

namespace dak {

// Throws kInvalidArgument for x, output or epilogue arguments that contradict the weight's shape.
// `operation` names the product in the error. Weight: rows() and cols(); Args: as GemmArgs.
template <typename Weight, typename Args>
void check_product_args(const char* operation, const Weight& weight, const Args& args) {
  const auto refuse = [&](const char* field, int64_t value, const char* problem) {
    throw_invalid(operation, field, std::to_string(value), problem);
  };
  if (args.x_stride < weight.cols() || args.x_stride % 8 != 0) {
    refuse("x_stride", args.x_stride, "must be a multiple of 8 and at least the weight's columns");
  }
  if (reinterpret_cast<uintptr_t>(args.x) % 16 != 0) refuse("x", 0, "must be 16-byte aligned");
  if (args.gated && (args.bias != nullptr || weight.rows() % 16 != 0)) {
    refuse("gated", weight.rows(), "takes no bias and rows in multiples of 16");
  }
  if (args.out_stride < (args.gated ? weight.rows() / 2 : weight.rows())) {
    refuse("out_stride", args.out_stride, "is shorter than a row of outputs");
  }
}

}  // namespace dak
