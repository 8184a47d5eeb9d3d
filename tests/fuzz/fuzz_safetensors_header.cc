// Any bytes as a safetensors file: parsed in full or refused with a dak::Error.
#include "format/safetensors_header.h"
#include "stored_tensors.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::span file(reinterpret_cast<const std::byte*>(data), size);
  dak::fuzz_parse([&] {
    dak::ByteReader reader(file, "fuzz.safetensors");
    const dak::SafetensorsHeader header = dak::parse_safetensors_header(reader);
    dak::check_stored_tensors(header.tensors, file);
  });
  return 0;
}
