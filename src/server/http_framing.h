// Requests out of the bytes of a connection. No sockets: tests and tests/fuzz/fuzz_http_framing.cc
// drive it as connections do.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "server/http_chunks.h"
#include "server/http_head.h"

namespace dak {

class HttpFraming {
 public:
  // The most of a request's header, and of its body.
  HttpFraming(int64_t header_bytes, int64_t body_bytes)
      : header_bytes_(header_bytes),
        body_bytes_(body_bytes),
        scan_(HeaderScan::Begin::kRequestLine, header_bytes) {}

  enum class Step : uint8_t {
    kMore,     // the bytes end before the next step
    kHead,     // the header is whole: head()
    kWhole,    // and the body: take_request()
    kRefused,  // refusal(); for good: what follows cannot be told from a body
  };

  // `bytes` follow those before; what belongs to later requests is kept for them.
  void add(std::string_view bytes) {
    if (part_ != Part::kRefused) bytes_ += bytes;
  }
  // kHead, then kWhole, for each request.
  Step next();

  bool begun() const { return scan_.begun(); }     // a byte of a request has come
  const HttpHead& head() const { return *head_; }  // between kHead and kWhole
  HttpRequest take_request() { return std::move(head_->request); }
  const HttpRefusal& refusal() const { return *refusal_; }
  bool has_more() const { return at_ < bytes_.size(); }  // bytes that no step has taken yet

 private:
  enum class Part : uint8_t { kHeader, kBody, kRefused };

  Step read_header();
  Step read_body();
  void drop_read();

  int64_t header_bytes_;
  int64_t body_bytes_;
  std::string bytes_;
  size_t at_ = 0;  // read of these
  Part part_ = Part::kHeader;
  HeaderScan scan_;
  std::optional<HttpHead> head_;
  std::optional<ChunkDecoder> chunks_;
  std::optional<HttpRefusal> refusal_;
};

}  // namespace dak
