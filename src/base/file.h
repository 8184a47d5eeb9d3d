// A file read at given offsets, with errors that name it. Reads never trust a length from the file.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>

namespace dak {

// Open for reading; safe to read from several threads at once (pread).
class RandomAccessFile {
 public:
  explicit RandomAccessFile(const std::filesystem::path& path);
  ~RandomAccessFile();
  RandomAccessFile(RandomAccessFile&& other) noexcept;
  RandomAccessFile& operator=(RandomAccessFile&& other) noexcept;
  RandomAccessFile(const RandomAccessFile&) = delete;
  RandomAccessFile& operator=(const RandomAccessFile&) = delete;

  const std::string& path() const { return path_; }
  int64_t size_bytes() const { return size_bytes_; }

  // Fills all of `out` from `offset`; throws kCorrupt when that reaches past the end, naming
  // `what` (e.g. a tensor), and kIo when the system fails.
  void read(int64_t offset, std::span<std::byte> out, std::string_view what) const;

 private:
  std::string path_;
  int fd_ = -1;
  int64_t size_bytes_ = 0;
};

// The whole of a small text file; throws kNotFound / kIo, and kCorrupt past `max_bytes`.
std::string read_text_file(const std::filesystem::path& path,
                           int64_t max_bytes = int64_t{256} << 20);

// Whole or not at all, in place of what was there; what is no regular file (a device, a pipe) is
// written as it is. Throws kIo naming the path, the system's reason and `fix`.
void write_text_file(const std::filesystem::path& path, std::string_view text,
                     std::string_view fix = "check the folder");

// Whether write_text_file could, for what takes minutes before it has something to write; leaves
// nothing. Throws kIo as it does.
void check_writable(const std::filesystem::path& path, std::string_view fix = "check the folder");

}  // namespace dak
