// A body in chunks (RFC 9112, section 7.1).
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "server/http_head.h"

namespace dak {

// Byte by byte but for the data, so that it makes no difference how they arrive.
class ChunkDecoder {
 public:
  // `body_bytes`: the most data; `other_bytes`: the most of the extensions of all chunks together,
  // and of the fields behind the last.
  ChunkDecoder(int64_t body_bytes, int64_t other_bytes)
      : body_bytes_(static_cast<uint64_t>(body_bytes)),
        extension_bytes_(other_bytes),
        trailer_(HeaderScan::Begin::kFields, other_bytes) {}

  // Appends the data among `bytes` to `body`; returns how many of `bytes` are of the body.
  // Extensions and the fields behind the last chunk are checked and dropped. Throws HttpRefusal
  // (400, 413, 431).
  size_t take(std::string_view bytes, std::string& body);
  bool done() const { return part_ == Part::kDone; }

 private:
  enum class Part : uint8_t { kSizeLine, kSizeEnd, kData, kDataCr, kDataLf, kTrailer, kDone };

  void take_line_byte(char byte);
  void end_size_line(size_t body_bytes);
  void take_trailer_byte(char byte);

  uint64_t body_bytes_;
  int64_t extension_bytes_;  // left
  Part part_ = Part::kSizeLine;
  std::string line_;
  uint64_t left_ = 0;  // of the chunk
  HeaderScan trailer_;
};

}  // namespace dak
