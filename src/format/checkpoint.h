// A model's tensors as stored: names, types, shapes and where their bytes lie. Every format ends up
// as this; nothing is read until rows are asked for, and never more than is asked for.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "base/dtype.h"
#include "base/file.h"

namespace dak {

struct StoredTensor {
  std::string name;
  DType dtype = DType::kF32;
  std::vector<int64_t> shape;  // outermost first: [rows, cols], or [n]; a dimension may be 0
  int file = 0;                // index into the checkpoint's files
  int64_t offset = 0;          // of the first byte, in that file
  int64_t size_bytes = 0;      // 0 where dak does not know the type's size
  float scale = 1;             // of all its values, which the file keeps apart
  // The file's name for a type that dak does not read ("F8_E4M3", "IQ2_XXS", "type 99"), and then
  // `dtype` means nothing. Only a tensor that the model needs must be readable.
  std::string unreadable_type = {};

  bool readable() const { return unreadable_type.empty(); }
  std::string_view type_name() const {
    return readable() ? dak::name(dtype) : std::string_view(unreadable_type);
  }
  int64_t rows() const { return shape.size() < 2 ? 1 : shape[0]; }
  int64_t cols() const;  // elements per row
};

class Checkpoint {
 public:
  Checkpoint(std::vector<RandomAccessFile> files, std::vector<StoredTensor> tensors);

  const std::vector<StoredTensor>& tensors() const { return tensors_; }
  const StoredTensor* find(std::string_view name) const;  // nullptr: not there
  const std::string& file_of(const StoredTensor& tensor) const;

  // Of all values of the tensor of this name, which is there.
  void set_scale(std::string_view name, float scale) { tensors_[by_name_.at(name)].scale = scale; }

  // Throws kUnsupported naming the tensor, its type and those that dak reads.
  void check_readable(const StoredTensor& tensor) const;

  // Rows [first, first + count) dequantised to row-major f32 [count, cols]. Thread-safe. Throws as
  // check_readable does.
  void read_rows(const StoredTensor& tensor, int64_t first, int64_t count,
                 std::span<float> out) const;

 private:
  std::vector<RandomAccessFile> files_;
  std::vector<StoredTensor> tensors_;
  std::unordered_map<std::string_view, size_t> by_name_;
};

}  // namespace dak
