// What a parsed header promises of its tensors, checked with bytes that are in memory.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <iterator>
#include <span>
#include <vector>

#include "base/error.h"
#include "format/checkpoint.h"
#include "format/dequantise.h"

namespace dak {

// Traps, so that the fuzzer reports it.
inline void fuzz_require(bool condition) {
  if (!condition) std::abort();
}

// Every tensor lies inside `file`; a readable one has the size that its shape makes, and can be
// dequantised.
inline void check_stored_tensors(const std::vector<StoredTensor>& tensors,
                                 std::span<const std::byte> file) {
  const auto file_bytes = static_cast<int64_t>(file.size());
  for (const StoredTensor& tensor : tensors) {
    const int64_t elements = tensor.rows() * tensor.cols();
    fuzz_require(!tensor.name.empty() && elements >= 0);
    fuzz_require(tensor.offset >= 0 && tensor.size_bytes >= 0 && tensor.size_bytes <= file_bytes &&
                 tensor.offset <= file_bytes - tensor.size_bytes);
    if (!tensor.readable()) continue;
    fuzz_require(tensor.cols() % traits(tensor.dtype).block_elements == 0);
    fuzz_require(tensor.size_bytes == bytes_of(tensor.dtype, elements));
    if (elements == 0) continue;
    const int64_t row_elements = tensor.cols();
    std::vector<float> row(static_cast<size_t>(row_elements));
    dequantise(tensor.dtype, file.data() + tensor.offset, row_elements, row.data());
  }
  std::vector<StoredTensor> sorted;
  std::copy_if(tensors.begin(), tensors.end(), std::back_inserter(sorted),
               [](const StoredTensor& tensor) { return tensor.size_bytes > 0; });
  std::sort(sorted.begin(), sorted.end(),
            [](const StoredTensor& a, const StoredTensor& b) { return a.offset < b.offset; });
  for (size_t i = 1; i < sorted.size(); ++i) {
    fuzz_require(sorted[i - 1].offset + sorted[i - 1].size_bytes <= sorted[i].offset);
  }
}

// Runs `parse`; a dak::Error is a good answer unless it says that dak has a bug or is not one line.
template <typename Parse>
void fuzz_parse(Parse parse) {
  try {
    parse();
  } catch (const Error& error) {
    fuzz_require(error.code() != ErrorCode::kInternal);
    for (const char* c = error.what(); *c != '\0'; ++c) {
      fuzz_require(static_cast<unsigned char>(*c) >= 0x20 && *c != 0x7f);
    }
  }
}

}  // namespace dak
