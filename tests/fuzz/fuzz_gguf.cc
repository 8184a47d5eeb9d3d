// Any bytes as a GGUF file: parsed in full or refused with a dak::Error.
#include "format/gguf_header.h"
#include "stored_tensors.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::span file(reinterpret_cast<const std::byte*>(data), size);
  dak::fuzz_parse([&] {
    dak::ByteReader reader(file, "fuzz.gguf");
    const dak::GgufHeader header = dak::parse_gguf_header(reader);
    dak::check_stored_tensors(header.tensors, file);
    const dak::GgufMetadata& metadata = header.metadata;
    for (const auto& entry : metadata.values()) {
      dak::fuzz_parse([&] { (void)metadata.integer(entry.first); });
      dak::fuzz_parse([&] { (void)metadata.number(entry.first); });
      dak::fuzz_parse([&] { (void)metadata.strings(entry.first); });
    }
  });
  return 0;
}
