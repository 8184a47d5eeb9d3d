#include "base/file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <fstream>
#include <string_view>
#include <utility>

#include "base/error.h"

namespace dak {
namespace {

[[noreturn]] void throw_system(const std::string& path, std::string_view action, int error) {
  const bool missing = error == ENOENT;
  throw Error(missing ? ErrorCode::kNotFound : ErrorCode::kIo,
              {.where = path,
               .field = {},
               .value = {},
               .problem = fmt::format("cannot {}: {}", action, std::strerror(error)),
               .fix = missing ? "check the path" : ""});
}

}  // namespace

RandomAccessFile::RandomAccessFile(const std::filesystem::path& path) : path_(path.string()) {
  fd_ = ::open(path_.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd_ < 0) throw_system(path_, "open", errno);
  struct stat info {};
  const int failed = ::fstat(fd_, &info) == 0 ? 0 : errno;
  if (failed != 0 || !S_ISREG(info.st_mode)) {
    ::close(fd_);
    if (failed != 0) throw_system(path_, "stat", failed);
    throw_invalid(path_, {}, {}, "is not a regular file", "give a model file or folder");
  }
  size_bytes_ = info.st_size;
}

RandomAccessFile::~RandomAccessFile() {
  if (fd_ >= 0) ::close(fd_);
}

RandomAccessFile::RandomAccessFile(RandomAccessFile&& other) noexcept
    : path_(std::move(other.path_)),
      fd_(std::exchange(other.fd_, -1)),
      size_bytes_(other.size_bytes_) {}

RandomAccessFile& RandomAccessFile::operator=(RandomAccessFile&& other) noexcept {
  std::swap(path_, other.path_);
  std::swap(fd_, other.fd_);
  std::swap(size_bytes_, other.size_bytes_);
  return *this;
}

void RandomAccessFile::read(int64_t offset, std::span<std::byte> out, std::string_view what) const {
  const auto length = static_cast<int64_t>(out.size());
  if (offset < 0 || length > size_bytes_ || offset > size_bytes_ - length) {
    throw_corrupt(
        path_, what, {},
        fmt::format("needs bytes {} to {} of a file of {}", offset, offset + length, size_bytes_),
        "the file is truncated or damaged: fetch it again");
  }
  size_t done = 0;
  while (done < out.size()) {
    const ssize_t got =
        ::pread(fd_, out.data() + done, out.size() - done, offset + static_cast<int64_t>(done));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) throw_system(path_, "read", errno);
    if (got == 0) {
      throw_corrupt(path_, what, {}, "ended while being read", "is another program writing it?");
    }
    done += static_cast<size_t>(got);
  }
}

std::string read_text_file(const std::filesystem::path& path, int64_t max_bytes) {
  const RandomAccessFile file(path);
  if (file.size_bytes() > max_bytes) {
    throw_corrupt(file.path(), "size", std::to_string(file.size_bytes()),
                  fmt::format("is more than the {} bytes allowed for such a file", max_bytes));
  }
  std::string text(static_cast<size_t>(file.size_bytes()), '\0');
  file.read(0, std::as_writable_bytes(std::span(text)), "contents");
  return text;
}

void write_text_file(const std::filesystem::path& path, std::string_view text,
                     std::string_view fix) {
  const std::filesystem::path part = path.string() + ".part";
  std::ofstream file(part, std::ios::binary);
  file << text;
  file.close();
  std::error_code failed;
  if (file) std::filesystem::rename(part, path, failed);
  if (file && !failed) return;
  std::filesystem::remove(part, failed);
  throw Error(ErrorCode::kIo, {.where = path.string(),
                               .field = {},
                               .value = {},
                               .problem = "cannot be written",
                               .fix = std::string(fix)});
}

}  // namespace dak
