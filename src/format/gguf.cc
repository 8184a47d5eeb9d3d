#include "format/gguf.h"

#include <utility>

#include "format/gguf_header.h"

namespace dak {

GgufFile open_gguf(const std::filesystem::path& path) {
  RandomAccessFile file(path);
  ByteReader reader(file);
  GgufHeader header = parse_gguf_header(reader);
  std::vector<RandomAccessFile> files;
  files.push_back(std::move(file));
  return {.version = header.version,
          .metadata = std::move(header.metadata),
          .checkpoint = Checkpoint(std::move(files), std::move(header.tensors))};
}

}  // namespace dak
