#include "format/byte_reader.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <span>
#include <utility>

#include "base/error.h"

namespace dak {
namespace {

static_assert(std::endian::native == std::endian::little, "model files are little-endian");

constexpr int64_t kBufferBytes = 64 << 10;
constexpr std::string_view kDamaged = "bytes are missing: fetch the file again";

}  // namespace

ByteReader::ByteReader(const RandomAccessFile& file)
    : name_(file.path()),
      size_(file.size_bytes()),
      source_([&file](int64_t offset, std::span<std::byte> out) {
        file.read(offset, out, "header");
      }) {}

ByteReader::ByteReader(std::span<const std::byte> bytes, std::string name)
    : name_(std::move(name)),
      size_(static_cast<int64_t>(bytes.size())),
      source_([bytes](int64_t offset, std::span<std::byte> out) {
        std::memcpy(out.data(), bytes.data() + offset, out.size());
      }) {}

void ByteReader::read_bytes(std::span<std::byte> out, std::string_view field) {
  if (static_cast<int64_t>(out.size()) > remaining()) {
    throw_corrupt(
        name_, field, {},
        fmt::format("takes {} bytes at offset {} of a file of {}", out.size(), position(), size_),
        kDamaged);
  }
  while (!out.empty()) {
    if (used_ == buffer_.size()) {
      buffer_offset_ += static_cast<int64_t>(used_);
      used_ = 0;
      buffer_.resize(static_cast<size_t>(std::min(kBufferBytes, size_ - buffer_offset_)));
      source_(buffer_offset_, buffer_);
    }
    const size_t now = std::min(out.size(), buffer_.size() - used_);
    std::memcpy(out.data(), buffer_.data() + used_, now);
    used_ += now;
    out = out.subspan(now);
  }
}

std::string ByteReader::peek(size_t count) const {
  std::string bytes(std::min(count, static_cast<size_t>(remaining())), '\0');
  if (!bytes.empty()) source_(position(), std::as_writable_bytes(std::span(bytes)));
  return bytes;
}

int64_t ByteReader::read_count(int64_t item_bytes, int64_t limit, std::string_view field) {
  const auto count = read<uint64_t>(field);
  if (count > static_cast<uint64_t>(remaining() / item_bytes)) {
    throw_corrupt(name_, field, std::to_string(count),
                  fmt::format("does not fit in the {} bytes that follow it", remaining()),
                  kDamaged);
  }
  if (count > static_cast<uint64_t>(limit)) {
    throw_corrupt(name_, field, std::to_string(count),
                  fmt::format("is more than the {} that dak accepts", limit), kDamaged);
  }
  return static_cast<int64_t>(count);
}

std::string ByteReader::read_string(int64_t max_bytes, std::string_view field) {
  std::string text(static_cast<size_t>(read_count(1, max_bytes, field)), '\0');
  read_bytes(std::as_writable_bytes(std::span(text)), field);
  return text;
}

}  // namespace dak
