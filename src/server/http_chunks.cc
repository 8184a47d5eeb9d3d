#include "server/http_chunks.h"

#include <fmt/core.h>

#include <algorithm>
#include <charconv>

namespace dak {
namespace {

constexpr size_t kMostDigits = 16;

[[noreturn]] void refuse(std::string_view reason) {
  throw HttpRefusal(400, fmt::format("a chunk of the body: {}", reason));
}

bool is_hex(char c) {
  return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');
}

// *( BWS ";" BWS name [ BWS "=" BWS ( token / quoted-string ) ] )
class Extensions {
 public:
  explicit Extensions(std::string_view text) : text_(text) {}

  void check() {
    while (at_ < text_.size()) {
      skip_blanks();
      if (next() != ';') refuse("its size is no hexadecimal number");
      skip_blanks();
      token();
      const size_t name_end = at_;
      skip_blanks();
      if (peek() == '=') {
        ++at_;
        skip_blanks();
        peek() == '"' ? quoted() : token();
      } else {
        at_ = name_end;
      }
    }
  }

 private:
  char peek() const { return at_ < text_.size() ? text_[at_] : '\0'; }
  char next() { return at_ < text_.size() ? text_[at_++] : '\0'; }
  void skip_blanks() {
    while (peek() == ' ' || peek() == '\t') ++at_;
  }
  void token() {
    const size_t begin = at_;
    while (is_token_char(peek())) ++at_;
    if (at_ == begin) refuse("its extension is malformed");
  }
  void quoted() {
    ++at_;
    while (at_ < text_.size() && peek() != '"') at_ += peek() == '\\' ? 2 : 1;
    if (next() != '"') refuse("its extension is malformed");
  }

  std::string_view text_;
  size_t at_ = 0;
};

}  // namespace

size_t ChunkDecoder::take(std::string_view bytes, std::string& body) {
  size_t at = 0;
  while (at < bytes.size() && part_ != Part::kDone) {
    if (part_ == Part::kData) {
      const size_t count = std::min<uint64_t>(left_, bytes.size() - at);
      body.append(bytes.substr(at, count));
      at += count;
      left_ -= count;
      if (left_ == 0) part_ = Part::kDataCr;
      continue;
    }
    const char byte = bytes[at++];
    switch (part_) {
      case Part::kSizeLine:
        take_line_byte(byte);
        break;
      case Part::kSizeEnd:
        if (byte != '\n') refuse("its size line ends without LF");
        end_size_line(body.size());
        break;
      case Part::kDataCr:
        if (byte != '\r') refuse("it is longer than its size");
        part_ = Part::kDataLf;
        break;
      case Part::kDataLf:
        if (byte != '\n') refuse("it ends without LF");
        part_ = Part::kSizeLine;
        break;
      default:
        take_trailer_byte(byte);
    }
  }
  return at;
}

void ChunkDecoder::take_line_byte(char byte) {
  const auto code = static_cast<unsigned char>(byte);
  if (byte == '\r') {
    part_ = Part::kSizeEnd;
    return;
  }
  if ((code < 0x20 && byte != '\t') || code == 0x7f) refuse("a control character in its size line");
  line_ += byte;
  const auto digits = static_cast<size_t>(std::ranges::find_if_not(line_, is_hex) - line_.begin());
  if (digits == 0 || digits > kMostDigits) refuse("its size is no hexadecimal number");
  if (digits < line_.size() && --extension_bytes_ < 0) {
    throw HttpRefusal(431, "the extensions of the body's chunks are too long");
  }
}

void ChunkDecoder::end_size_line(size_t body_bytes) {
  const char* begin = line_.data();
  const char* end = begin + line_.size();
  const auto [digits_end, status] = std::from_chars(begin, end, left_, 16);
  if (status != std::errc() || digits_end == begin) refuse("its size is no hexadecimal number");
  Extensions({digits_end, static_cast<size_t>(end - digits_end)}).check();
  line_.clear();
  if (left_ > body_bytes_ - body_bytes) {
    throw HttpRefusal(413, fmt::format("the body is longer than {} bytes", body_bytes_));
  }
  part_ = left_ == 0 ? Part::kTrailer : Part::kData;
}

void ChunkDecoder::take_trailer_byte(char byte) {
  if (trailer_.take(byte)) {
    part_ = Part::kDone;
    return;
  }
  if (byte == '\n') {
    check_field_line(line_);
    line_.clear();
  } else if (byte != '\r') {
    line_ += byte;
  }
}

}  // namespace dak
