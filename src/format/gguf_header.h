// What precedes the tensor data of a GGUF file, parsed from any source of bytes.
#pragma once

#include <vector>

#include "format/byte_reader.h"
#include "format/gguf.h"

namespace dak {

struct GgufHeader {
  int version = 0;
  GgufMetadata metadata;
  std::vector<StoredTensor> tensors;  // offsets from the beginning of the file
};

// `reader` stands at the first byte of the file. Checks everything that open_gguf promises but that
// names are unique, which Checkpoint does.
GgufHeader parse_gguf_header(ByteReader& reader);

}  // namespace dak
