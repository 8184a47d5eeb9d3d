#include "base/file.h"

#include <fcntl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <string_view>
#include <utility>

#include "base/error.h"

namespace dak {
namespace {

rlimit file_limit() {
  rlimit limit{};
  getrlimit(RLIMIT_NOFILE, &limit);
  return limit;
}

// A model may have more files than a process may open by default: then as many as it may at most.
int open_file(const std::string& path) {
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  rlimit limit = file_limit();
  if (fd >= 0 || errno != EMFILE || limit.rlim_cur >= limit.rlim_max) return fd;
  limit.rlim_cur = limit.rlim_max;
  if (setrlimit(RLIMIT_NOFILE, &limit) != 0) {
    errno = EMFILE;
    return -1;
  }
  return ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
}

[[noreturn]] void throw_system(const std::string& path, std::string_view action, int error) {
  const bool missing = error == ENOENT;
  throw Error(missing ? ErrorCode::kNotFound : ErrorCode::kIo,
              {.where = path,
               .field = {},
               .value = {},
               .problem = fmt::format("cannot {}: {}", action, std::strerror(error)),
               .fix = missing           ? "check the path"
                      : error == EMFILE ? fmt::format("a process may have {} files open: raise "
                                                      "ulimit -n",
                                                      file_limit().rlim_cur)
                                        : ""});
}

[[noreturn]] void throw_unwritable(const std::filesystem::path& path, int error,
                                   std::string_view fix) {
  throw Error(ErrorCode::kIo,
              {.where = path.string(),
               .field = {},
               .value = {},
               .problem = fmt::format("cannot be written: {}", std::strerror(error)),
               .fix = std::string(fix)});
}

// A device, a pipe: something that must not be replaced by a file.
bool is_other_than_file(const std::filesystem::path& path) {
  struct stat info {};
  return ::stat(path.c_str(), &info) == 0 && !S_ISREG(info.st_mode);
}

// 0, or why not.
int write_new(const std::string& path, std::string_view text) {
  const int fd = ::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
  if (fd < 0) return errno;
  int error = 0;
  while (error == 0 && !text.empty()) {
    const ssize_t written = ::write(fd, text.data(), text.size());
    if (written > 0) text.remove_prefix(static_cast<size_t>(written));
    if (written < 0 && errno != EINTR) error = errno;
  }
  if (::close(fd) != 0 && error == 0) error = errno;  // some systems say only here that it is full
  return error;
}

}  // namespace

RandomAccessFile::RandomAccessFile(const std::filesystem::path& path) : path_(path.string()) {
  fd_ = open_file(path_);
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
  const bool in_place = is_other_than_file(path);
  // Where a link leads, so that it goes on being one.
  const std::filesystem::path target =
      std::filesystem::is_symlink(path) ? std::filesystem::weakly_canonical(path) : path;
  const std::string part = in_place ? path.string() : target.string() + ".part";
  int error = write_new(part, text);
  if (error == 0 && !in_place && ::rename(part.c_str(), target.c_str()) != 0) error = errno;
  if (error == 0) return;
  if (!in_place) ::unlink(part.c_str());
  throw_unwritable(path, error, fix);
}

void check_writable(const std::filesystem::path& path, std::string_view fix) {
  if (is_other_than_file(path)) {
    const int fd = ::open(path.c_str(), O_WRONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0 && errno != ENXIO) throw_unwritable(path, errno, fix);  // a pipe without its reader
    if (fd >= 0) ::close(fd);
    return;
  }
  const std::string part = path.string() + ".part";
  const int error = write_new(part, {});
  if (error != 0) throw_unwritable(path, error, fix);
  ::unlink(part.c_str());
}

}  // namespace dak
