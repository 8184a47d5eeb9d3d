// A plain socket that speaks HTTP as badly as a test wants.
#pragma once

#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <chrono>
#include <map>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>

namespace dak {

struct HttpAnswer {
  int status = 0;
  std::map<std::string, std::string> headers;  // names in lower case
  std::string body;                            // chunks joined
  bool complete = false;
};

class HttpClient {
 public:
  explicit HttpClient(uint16_t port, int receive_buffer_bytes = 0) {
    fd_ = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (receive_buffer_bytes > 0) {
      setsockopt(fd_, SOL_SOCKET, SO_RCVBUF, &receive_buffer_bytes, sizeof(receive_buffer_bytes));
    }
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(port);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (connect(fd_, reinterpret_cast<const sockaddr*>(&address), sizeof(address)) != 0) {
      throw std::runtime_error("connect");
    }
  }
  ~HttpClient() { close_all(); }
  HttpClient(HttpClient&& other) noexcept
      : fd_(std::exchange(other.fd_, -1)), seen_(std::move(other.seen_)) {}
  HttpClient(const HttpClient&) = delete;
  HttpClient& operator=(const HttpClient&) = delete;
  HttpClient& operator=(HttpClient&&) = delete;

  int fd() const { return fd_; }
  void send(std::string_view text) const {
    while (!text.empty()) {
      const ssize_t sent = ::send(fd_, text.data(), text.size(), MSG_NOSIGNAL);
      if (sent <= 0) return;  // the server may have had enough
      text.remove_prefix(static_cast<size_t>(sent));
    }
  }
  void close_sending() const { shutdown(fd_, SHUT_WR); }
  void close_all() {
    if (fd_ >= 0) close(fd_);
    fd_ = -1;
  }

  // What has come and what comes before `text` and it; "" after the limit or at the end.
  std::string read_until(std::string_view text, double limit_s = 10) {
    const auto limit = Clock::now() + milliseconds_of(limit_s);
    while (true) {
      if (const size_t at = seen_.find(text); at != std::string::npos) {
        std::string out = seen_.substr(0, at + text.size());
        seen_.erase(0, out.size());
        return out;
      }
      if (!more(limit)) return "";
    }
  }

  // Whether the server closes within the limit; what it sends before is kept.
  bool closed(double limit_s = 10) {
    const auto limit = Clock::now() + milliseconds_of(limit_s);
    while (more(limit)) {
    }
    return ended_;
  }

  HttpAnswer answer(double limit_s = 10, bool head = false) {
    HttpAnswer answer;
    const std::string header = read_until("\r\n\r\n", limit_s);
    if (header.empty()) return answer;
    answer.status = std::stoi(header.substr(9, 3));
    for (size_t at = header.find("\r\n") + 2; at + 2 < header.size();) {
      const size_t end = header.find("\r\n", at);
      const size_t colon = header.find(": ", at);
      std::string name = header.substr(at, colon - at);
      for (char& c : name) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
      answer.headers[name] = header.substr(colon + 2, end - colon - 2);
      at = end + 2;
    }
    if (head || answer.status == 204) {
      answer.complete = true;
    } else if (answer.headers.contains("content-length")) {
      answer.body = read_bytes(std::stoul(answer.headers["content-length"]), limit_s);
      answer.complete = answer.body.size() == std::stoul(answer.headers["content-length"]);
    } else if (answer.headers.contains("transfer-encoding")) {
      read_chunks(answer, limit_s);
    }
    return answer;
  }

 private:
  using Clock = std::chrono::steady_clock;

  static std::chrono::milliseconds milliseconds_of(double seconds) {
    return std::chrono::milliseconds(static_cast<int64_t>(seconds * 1000));
  }

  bool more(Clock::time_point limit) {
    const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(limit - Clock::now());
    pollfd polled{fd_, POLLIN, 0};
    if (left.count() <= 0 || poll(&polled, 1, static_cast<int>(left.count())) <= 0) return false;
    char buffer[16384];
    const ssize_t got = recv(fd_, buffer, sizeof(buffer), 0);
    ended_ = got <= 0;
    if (got > 0) seen_.append(buffer, static_cast<size_t>(got));
    return !ended_;
  }

  std::string read_bytes(size_t bytes, double limit_s) {
    const auto limit = Clock::now() + milliseconds_of(limit_s);
    while (seen_.size() < bytes && more(limit)) {
    }
    std::string out = seen_.substr(0, bytes);
    seen_.erase(0, out.size());
    return out;
  }

  void read_chunks(HttpAnswer& answer, double limit_s) {
    while (true) {
      const std::string length = read_until("\r\n", limit_s);
      if (length.empty()) return;
      const size_t bytes = std::stoul(length, nullptr, 16);
      answer.body += read_bytes(bytes, limit_s);
      if (read_until("\r\n", limit_s).empty()) return;
      if (bytes == 0) {
        answer.complete = true;
        return;
      }
    }
  }

  int fd_ = -1;
  bool ended_ = false;
  std::string seen_;
};

inline std::string post_text(std::string_view path, std::string_view body,
                             std::string_view headers = "") {
  return "POST " + std::string(path) +
         " HTTP/1.1\r\nHost: test\r\nContent-Type: application/json\r\n" + std::string(headers) +
         "Content-Length: " + std::to_string(body.size()) + "\r\n\r\n" + std::string(body);
}

inline std::string get_text(std::string_view path, std::string_view headers = "") {
  return "GET " + std::string(path) + " HTTP/1.1\r\nHost: test\r\n" + std::string(headers) + "\r\n";
}

}  // namespace dak
