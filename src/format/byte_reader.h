// Sequential little-endian reading of a header that may lie: every length is checked against what
// is left before anything is allocated, and errors name the file, the field and the place.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/file.h"

namespace dak {

class ByteReader {
 public:
  // Over a file, through a buffer of 64 KiB; `file` must outlive the reader.
  explicit ByteReader(const RandomAccessFile& file);
  // Over memory; `name` stands for the path in errors.
  ByteReader(std::span<const std::byte> bytes, std::string name);

  const std::string& name() const { return name_; }
  int64_t size() const { return size_; }
  int64_t position() const { return buffer_offset_ + static_cast<int64_t>(used_); }
  int64_t remaining() const { return size_ - position(); }

  // Integers and IEEE floats; `field` is what an error calls them.
  template <typename T>
  T read(std::string_view field) {
    T value{};
    read_bytes(std::as_writable_bytes(std::span(&value, 1)), field);
    return value;
  }

  // A count or length of items of at least `item_bytes` each, read as u64. Throws kCorrupt when
  // they cannot fit in what remains or are more than `limit`.
  int64_t read_count(int64_t item_bytes, int64_t limit, std::string_view field);

  // u64 length, then the bytes.
  std::string read_string(int64_t max_bytes, std::string_view field);

  void read_bytes(std::span<std::byte> out, std::string_view field);

  // The next bytes, at most `count`; the next read gives them again.
  std::string peek(size_t count) const;

 private:
  using Source = std::function<void(int64_t offset, std::span<std::byte> out)>;

  std::string name_;
  int64_t size_ = 0;
  Source source_;
  std::vector<std::byte> buffer_;
  int64_t buffer_offset_ = 0;  // of buffer_[0]
  size_t used_ = 0;            // of buffer_
};

}  // namespace dak
