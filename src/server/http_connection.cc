#include "server/http_connection.h"

#include <fmt/core.h>
#include <sys/socket.h>

#include <boost/beast/http/read.hpp>

namespace dak {
namespace {

namespace asio = boost::asio;
namespace http = boost::beast::http;
using asio::ip::tcp;
using boost::system::error_code;

constexpr auto kLingerTime = std::chrono::seconds(2);  // for a client that is still sending
constexpr size_t kDiscardBytes = 4096;

}  // namespace

HttpConnection::HttpConnection(HttpThread& home, tcp::socket socket)
    : home_(home),
      all_(home.common),
      socket_(std::move(socket)),
      buffer_(static_cast<size_t>(home.common.limits.header_bytes) + (size_t{64} << 10)) {
  error_code ignored;
  socket_.set_option(tcp::no_delay(true), ignored);
  socket_.set_option(asio::socket_base::keep_alive(true), ignored);
  socket_.non_blocking(true, ignored);
  const tcp::endpoint peer = socket_.remote_endpoint(ignored);
  if (!ignored) peer_ = peer.address().to_string();
}

void HttpConnection::next_request() {
  if (home_.stopping || half_closed_) return close();
  state_ = State::kIdle;
  parser_.emplace();
  body_lease_.reset();
  parser_->header_limit(static_cast<uint32_t>(all_.limits.header_bytes));
  parser_->body_limit(static_cast<uint64_t>(all_.limits.body_bytes));
  if (buffer_.size() > 0) return read_header();
  read_deadline_ = HttpClock::now() + all_.limits.idle_time;
  socket_.async_wait(tcp::socket::wait_read, [self = shared_from_this()](error_code error) {
    if (self->state_ != State::kIdle) return;
    if (error) return self->close();
    self->read_header();
  });
}

void HttpConnection::sweep(HttpClock::time_point now) {
  if (now >= read_deadline_) {
    read_deadline_ = kNever;
    if (state_ == State::kHeader || state_ == State::kBody) {
      ++all_.counters.timed_out;
      error_code ignored;
      socket_.cancel(ignored);  // nothing reads into the buffer from here on
      reject(408, "the request did not arrive in time");
    } else {
      close();
    }
  } else if (now >= write_deadline_) {
    ++all_.counters.timed_out;
    close();
  } else if (streaming_ && unsent_bytes() == 0 && now - last_write_ >= all_.limits.heartbeat) {
    write_body(heartbeat_);
  }
}

void HttpConnection::close() {
  if (state_ == State::kClosed) return;
  state_ = State::kClosed;
  read_deadline_ = write_deadline_ = kNever;
  streaming_ = false;
  error_code ignored;
  socket_.close(ignored);
  const std::shared_ptr<HttpConnection> self = shared_from_this();
  if (const auto reply = std::move(reply_)) reply->lost();
  home_.connections.erase(self);
  --home_.open;
  --all_.counters.open;
}

void HttpConnection::respond(const HttpResponse& response) {
  reply_.reset();
  const bool body = !head_;
  out_ += head_of(response, fmt::format("Content-Length: {}\r\n", response.body.size()));
  if (body) out_ += response.body;
  finish();
}
void HttpConnection::start_stream(const HttpResponse& head, std::string heartbeat) {
  chunked_ = version_ >= 11;
  if (!chunked_) keep_alive_ = false;
  out_ += head_of(head, chunked_ ? "Transfer-Encoding: chunked\r\n" : "");
  heartbeat_ = std::move(heartbeat);
  streaming_ = true;
  last_write_ = HttpClock::now();
  write_body(head.body);
  send();
}
void HttpConnection::write_body(std::string_view bytes) {
  add_to_body(bytes);
  send();
}
void HttpConnection::end_stream(std::string_view last) {
  reply_.reset();
  streaming_ = false;
  add_to_body(last);
  if (chunked_ && !head_) out_ += "0\r\n\r\n";
  finish();
}
void HttpConnection::abort_stream() {
  reply_.reset();
  streaming_ = false;
  keep_alive_ = false;
  finish();
}

void HttpConnection::read_header() {
  state_ = State::kHeader;
  read_deadline_ = HttpClock::now() + all_.limits.header_time;
  http::async_read_header(socket_, buffer_, *parser_,
                          [self = shared_from_this()](error_code error, size_t) {
                            if (self->state_ != State::kHeader) return;
                            if (error) return self->read_failed(error);
                            self->read_body();
                          });
}

void HttpConnection::read_body() {
  version_ = parser_->get().version();
  head_ = parser_->get().method() == http::verb::head;
  keep_alive_ = parser_->keep_alive();
  const auto length = parser_->content_length();
  if (length && *length > static_cast<uint64_t>(all_.limits.body_bytes)) {
    return read_failed(http::error::body_limit);
  }
  state_ = State::kBody;
  read_deadline_ = HttpClock::now() + all_.limits.body_time;
  if (parser_->is_done()) return answer();
  // Without a length it may be as long as any.
  const auto most = length ? static_cast<int64_t>(*length) : all_.limits.body_bytes;
  const int64_t all_bodies = *all_.body_bytes += most;
  body_lease_ =
      std::shared_ptr<void>(nullptr, [all = all_.body_bytes, most](void*) { *all -= most; });
  if (all_bodies > all_.limits.all_bodies_bytes) {
    body_lease_.reset();
    return reject(503, "too many large requests at a time; try again later");
  }
  if (parser_->get()[http::field::expect] == "100-continue") {
    out_ += "HTTP/1.1 100 Continue\r\n\r\n";
    send();
  }
  http::async_read(socket_, buffer_, *parser_,
                   [self = shared_from_this()](error_code error, size_t) {
                     if (self->state_ != State::kBody) return;
                     if (error) return self->read_failed(error);
                     self->answer();
                   });
}

void HttpConnection::read_failed(error_code error) {
  if (error == http::error::header_limit || error == http::error::buffer_overflow) {
    ++all_.counters.malformed;
    return reject(431, fmt::format("the header is longer than {} bytes", all_.limits.header_bytes));
  }
  if (error == http::error::body_limit) {
    ++all_.counters.malformed;
    return reject(413, fmt::format("the body is longer than {} bytes", all_.limits.body_bytes));
  }
  const bool left = error == http::error::end_of_stream || error == http::error::partial_message;
  if (left || error.category() != make_error_code(http::error::bad_method).category()) {
    return close();
  }
  ++all_.counters.malformed;
  reject(error == http::error::bad_version ? 505 : 400, "this is not HTTP/1.1: " + error.message());
}

// An answer of the server's own; what else the client sends is not read.
void HttpConnection::reject(int status, std::string_view reason) {
  keep_alive_ = false;
  state_ = State::kAnswer;
  respond({.status = status, .body = all_.refuse(status, reason)});
}

void HttpConnection::answer() {
  state_ = State::kAnswer;
  read_deadline_ = kNever;
  HttpRequest request{.received = HttpClock::now()};
  auto message = parser_->release();
  const std::string_view target(message.target().data(), message.target().size());
  const auto field = [&message](http::field name) { return std::string(message[name]); };
  request.method = std::string(message.method_string());
  request.path = target.substr(0, target.find_first_of("?#"));
  request.authorization = field(http::field::authorization);
  request.origin = field(http::field::origin);
  request.content_type = field(http::field::content_type);
  request.body = std::move(message.body());
  request.body_lease = std::move(body_lease_);
  request.peer = peer_;
  reply_ = std::make_shared<HttpReply>(home_, shared_from_this());
  watch_client();
  all_.handler(std::move(request), reply_);
}

// Whether the client is still there. Bytes that come meanwhile are its next request: they wait.
void HttpConnection::watch_client() {
  if (watching_ || half_closed_) return;
  watching_ = true;
  socket_.async_wait(tcp::socket::wait_read, [self = shared_from_this()](error_code error) {
    self->watching_ = false;
    if (error || self->state_ != State::kAnswer) return;
    char byte = 0;
    const ssize_t got = recv(self->socket_.native_handle(), &byte, 1, MSG_PEEK | MSG_DONTWAIT);
    if (got > 0) return;
    if (got < 0 && (errno == EAGAIN || errno == EINTR)) return self->watch_client();
    self->half_closed_ = true;
    // An end of input may mean that the client has left or that it only has no more to say. While
    // a stream is written, writing tells; a client that waits for a whole answer counts as gone.
    if (got < 0 || !self->streaming_) self->close();
  });
}

std::string HttpConnection::head_of(const HttpResponse& response, std::string_view length) {
  if (home_.stopping) keep_alive_ = false;
  std::string head = fmt::format(
      "HTTP/1.1 {} {}\r\nContent-Type: {}\r\n", response.status,
      std::string_view(http::obsolete_reason(static_cast<http::status>(response.status))),
      response.content_type);
  for (const auto& [name, value] : response.headers) {
    head += fmt::format("{}: {}\r\n", name, value);
  }
  head += length;
  if (!keep_alive_) {
    head += "Connection: close\r\n";
  } else if (version_ == 10) {
    head += "Connection: keep-alive\r\n";
  }
  return head + "\r\n";
}

void HttpConnection::add_to_body(std::string_view bytes) {
  if (bytes.empty() || head_) return;
  last_write_ = HttpClock::now();
  if (chunked_) fmt::format_to(std::back_inserter(out_), "{:x}\r\n", bytes.size());
  out_ += bytes;
  if (chunked_) out_ += "\r\n";
}

void HttpConnection::finish() {
  state_ = State::kLast;
  send();
}

// Mostly the socket takes all at once. What it does not take is written as it comes free; errors
// are told there too, never within a call of the answer's.
void HttpConnection::send() {
  if (state_ == State::kClosed || sending_) return;
  ssize_t sent = 0;
  if (!out_.empty()) {
    sent = ::send(socket_.native_handle(), out_.data(), out_.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
  }
  if (sent == std::ssize(out_)) {
    out_.clear();
    if (state_ == State::kLast) all_sent();
    return;
  }
  sending_ = true;
  writing_.clear();
  written_ = sent > 0 ? static_cast<size_t>(sent) : 0;
  std::swap(out_, writing_);
  write_some();
}

void HttpConnection::write_some() {
  write_deadline_ = HttpClock::now() + all_.limits.write_time;
  socket_.async_write_some(asio::buffer(writing_.data() + written_, writing_.size() - written_),
                           [self = shared_from_this()](error_code error, size_t bytes) {
                             if (self->state_ == State::kClosed) return;
                             if (error) return self->close();
                             self->written_ += bytes;
                             if (self->written_ < self->writing_.size()) {
                               return self->write_some();
                             }
                             self->write_deadline_ = kNever;
                             self->sending_ = false;
                             self->writing_.clear();
                             self->written_ = 0;
                             self->send();
                             if (!self->sending_) self->tell_sent();
                           });
}

void HttpConnection::all_sent() {
  if (keep_alive_) return next_request();
  linger();
}
void HttpConnection::tell_sent() {
  if (const auto reply = reply_) reply->ready();
}

// Closing a socket with bytes unread resets it, and the client may never see the answer.
void HttpConnection::linger() {
  state_ = State::kLinger;
  error_code ignored;
  socket_.shutdown(tcp::socket::shutdown_send, ignored);
  read_deadline_ = HttpClock::now() + kLingerTime;
  writing_.resize(kDiscardBytes);
  discard();
}
void HttpConnection::discard() {
  socket_.async_read_some(asio::buffer(writing_),
                          [self = shared_from_this()](error_code error, size_t) {
                            if (self->state_ != State::kLinger) return;
                            if (error) return self->close();
                            self->discard();
                          });
}

}  // namespace dak
