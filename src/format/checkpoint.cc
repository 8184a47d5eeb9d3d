#include "format/checkpoint.h"

#include <algorithm>
#include <utility>

#include "base/error.h"
#include "format/dequantise.h"

namespace dak {
namespace {

// Of stored bytes read at a time; a whole number of blocks of every type fits below it.
constexpr int64_t kChunkBytes = int64_t{1} << 20;

constexpr std::string_view kReadableTypes =
    "F32, F16 or BF16, or as a GGUF file of Q8_0, Q6_K, Q5_K, Q5_1, Q5_0, Q4_K, Q4_1, Q4_0, "
    "IQ4_XS, "
    "IQ4_NL, Q3_K, MXFP4 or NVFP4";

}  // namespace

int64_t StoredTensor::cols() const {
  if (shape.empty()) return 1;
  if (shape.size() == 1) return shape[0];
  int64_t count = 1;
  for (size_t i = 1; i < shape.size(); ++i) count *= shape[i];
  return count;
}

Checkpoint::Checkpoint(std::vector<RandomAccessFile> files, std::vector<StoredTensor> tensors)
    : files_(std::move(files)), tensors_(std::move(tensors)) {
  by_name_.reserve(tensors_.size());
  for (size_t i = 0; i < tensors_.size(); ++i) {
    const StoredTensor& tensor = tensors_[i];
    require(tensor.file >= 0 && static_cast<size_t>(tensor.file) < files_.size(),
            "tensor in a file that the checkpoint does not have");
    const auto [first, added] = by_name_.emplace(tensor.name, i);
    if (!added) {
      throw_corrupt(file_of(tensor), "tensor", tensor.name,
                    fmt::format("is listed twice (also in {})", file_of(tensors_[first->second])),
                    "remove one of them");
    }
  }
}

const StoredTensor* Checkpoint::find(std::string_view name) const {
  const auto found = by_name_.find(name);
  return found == by_name_.end() ? nullptr : &tensors_[found->second];
}

const std::string& Checkpoint::file_of(const StoredTensor& tensor) const {
  return files_[static_cast<size_t>(tensor.file)].path();
}

void Checkpoint::check_readable(const StoredTensor& tensor) const {
  if (tensor.readable()) return;
  throw_unsupported(file_of(tensor), fmt::format("tensor {} type", printable(tensor.name)),
                    tensor.unreadable_type, "is a type that dak does not read",
                    fmt::format("use a model stored as {}", kReadableTypes));
}

void Checkpoint::read_rows(const StoredTensor& tensor, int64_t first, int64_t count,
                           std::span<float> out) const {
  check_readable(tensor);
  require(first >= 0 && count >= 0 && first <= tensor.rows() && count <= tensor.rows() - first,
          "read_rows: rows outside the tensor");
  require(static_cast<int64_t>(out.size()) == count * tensor.cols(), "read_rows: size of `out`");
  const RandomAccessFile& file = files_[static_cast<size_t>(tensor.file)];
  int64_t offset = tensor.offset + bytes_of(tensor.dtype, first * tensor.cols());
  if (tensor.dtype == DType::kF32 && tensor.scale == 1.0f) {
    file.read(offset, std::as_writable_bytes(out), tensor.name);
    return;
  }
  const DTypeTraits& type = traits(tensor.dtype);
  const int64_t chunk_elements = kChunkBytes / type.block_bytes * type.block_elements;
  thread_local std::vector<std::byte> buffer;
  const auto elements = static_cast<int64_t>(out.size());
  for (int64_t done = 0; done < elements;) {
    const int64_t now = std::min(chunk_elements, elements - done);
    const int64_t now_bytes = bytes_of(tensor.dtype, now);
    buffer.resize(static_cast<size_t>(std::max<int64_t>(now_bytes, std::ssize(buffer))));
    file.read(offset, std::span(buffer).first(static_cast<size_t>(now_bytes)), tensor.name);
    dequantise(tensor.dtype, buffer.data(), now, out.data() + done);
    offset += now_bytes;
    done += now;
  }
  if (tensor.scale != 1.0f) {
    for (float& value : out) value *= tensor.scale;
  }
}

}  // namespace dak
