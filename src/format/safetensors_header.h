// The JSON header of a safetensors file, parsed from bytes.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/json.h"
#include "format/byte_reader.h"
#include "format/checkpoint.h"

namespace dak {

struct SafetensorsHeader {
  std::vector<StoredTensor> tensors;  // offsets from the beginning of the file; sorted by offset
};

// `reader` stands at the first byte of the file. Throws dak::Error naming reader.name(), field and
// value.
SafetensorsHeader parse_safetensors_header(ByteReader& reader);

// parse_json that also throws kCorrupt where an object has the same key twice, which it passes
// over.
Json parse_json_unique_keys(std::string_view text, std::string_view where);

}  // namespace dak
