#include "server/http_connection.h"

#include <fmt/core.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>

#include <array>
#include <boost/asio/post.hpp>

namespace dak {
namespace {

namespace asio = boost::asio;
using asio::ip::tcp;
using boost::system::error_code;

constexpr auto kLingerTime = std::chrono::seconds(2);  // for a client that is still sending
constexpr size_t kDiscardBytes = 4096;
constexpr size_t kReadBytes = 16384;
constexpr std::string_view kContinue = "HTTP/1.1 100 Continue\r\n\r\n";
// Seconds, and probes: for clients whose machine or network has gone.
constexpr int kKeepAliveIdle = 60;
constexpr int kKeepAliveInterval = 10;
constexpr int kKeepAliveProbes = 3;

}  // namespace

HttpConnection::HttpConnection(HttpThread& home, tcp::socket socket)
    : home_(home),
      all_(home.common),
      socket_(std::move(socket)),
      framing_(home.common.limits.header_bytes, home.common.limits.body_bytes) {
  error_code ignored;
  socket_.set_option(tcp::no_delay(true), ignored);
  socket_.set_option(asio::socket_base::keep_alive(true), ignored);
  for (const auto& [option, value] :
       {std::pair(TCP_KEEPIDLE, kKeepAliveIdle), std::pair(TCP_KEEPINTVL, kKeepAliveInterval),
        std::pair(TCP_KEEPCNT, kKeepAliveProbes)}) {
    setsockopt(socket_.native_handle(), IPPROTO_TCP, option, &value, sizeof(value));
  }
  socket_.non_blocking(true, ignored);
  const tcp::endpoint peer = socket_.remote_endpoint(ignored);
  if (!ignored) peer_ = peer.address().to_string();
}

void HttpConnection::next_request() {
  if (home_.stopping) return close();
  state_ = State::kIdle;
  ahead_ = false;
  head_ = false;
  body_lease_.reset();
  read_deadline_ = HttpClock::now() + all_.limits.idle_time;
  go_on();
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
  } else if (state_ == State::kAnswer && (half_closed_ || ahead_)) {
    look_after_client(now);
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

// As far as what has been received goes.
void HttpConnection::go_on() {
  switch (framing_.next()) {
    case HttpFraming::Step::kMore:
      return read_more();
    case HttpFraming::Step::kHead:
      if (accept_head()) go_on();
      return;
    case HttpFraming::Step::kWhole:
      return answer();
    case HttpFraming::Step::kRefused:
      ++all_.counters.malformed;
      return reject(framing_.refusal().status(), framing_.refusal().what());
  }
}

void HttpConnection::read_more() {
  if (half_closed_) return close();
  if (state_ == State::kIdle && framing_.begun()) {
    state_ = State::kHeader;
    read_deadline_ = HttpClock::now() + all_.limits.header_time;
  }
  socket_.async_wait(tcp::socket::wait_read, [self = shared_from_this()](error_code error) {
    if (!self->reading()) return;
    if (error) return self->close();
    self->receive();
  });
}

void HttpConnection::receive() {
  std::array<char, kReadBytes> bytes;
  const ssize_t got = recv(socket_.native_handle(), bytes.data(), bytes.size(), MSG_DONTWAIT);
  if (got < 0 && (errno == EAGAIN || errno == EINTR)) return read_more();
  // No request is whole here: one that ends in the middle is none.
  if (got <= 0) return close();
  framing_.add({bytes.data(), static_cast<size_t>(got)});
  go_on();
}

// Whether the body may be read.
bool HttpConnection::accept_head() {
  const HttpHead& head = framing_.head();
  version_ = head.version;
  head_ = head.request.method == "HEAD";
  keep_alive_ = head.keep_alive;
  try {
    if (all_.screen) all_.screen(head.request);
  } catch (const HttpRefusal& refusal) {
    reject(refusal.status(), refusal.what());
    return false;
  }
  state_ = State::kBody;
  read_deadline_ = HttpClock::now() + all_.limits.body_time;
  if (!head.has_body()) return true;
  if (!lease_body()) return false;
  if (head.expects_continue) {
    out_ += kContinue;
    send();
  }
  return true;
}

bool HttpConnection::lease_body() {
  const HttpHead& head = framing_.head();
  // Without a length it may be as long as any.
  const auto most =
      head.chunked ? all_.limits.body_bytes : static_cast<int64_t>(head.content_length);
  const int64_t all_bodies = *all_.body_bytes += most;
  body_lease_ =
      std::shared_ptr<void>(nullptr, [all = all_.body_bytes, most](void*) { *all -= most; });
  if (all_bodies <= all_.limits.all_bodies_bytes) return true;
  body_lease_.reset();
  reject(503, "too many large requests at a time; try again later");
  return false;
}

// An answer of the server's own; what else the client sends is not read.
void HttpConnection::reject(int status, std::string_view reason) {
  keep_alive_ = false;
  state_ = State::kAnswer;
  HttpResponse response{.status = status};
  response.body = all_.refuse(status, reason);
  if (status == 415) response.headers.emplace_back("Accept-Encoding", "identity");
  respond(response);
}

void HttpConnection::answer() {
  state_ = State::kAnswer;
  read_deadline_ = kNever;
  HttpRequest request = framing_.take_request();
  request.received = HttpClock::now();
  request.body_lease = std::move(body_lease_);
  request.peer = peer_;
  last_probe_ = request.received;
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
    self->ahead_ = got > 0;
    if (got > 0) return;
    if (got < 0 && (errno == EAGAIN || errno == EINTR)) return self->watch_client();
    if (got < 0) return self->close();
    self->half_closed_ = true;
    self->last_probe_ = HttpClock::now();
  });
}

// An end of its input means that the client has left, or only that it has no more to say: the bytes
// of both are the same. What is sent to a socket that is closed comes back as a reset. A stream has
// bytes to send; one that waits for a whole answer gets an interim one, which is no part of it.
void HttpConnection::look_after_client(HttpClock::time_point now) {
  pollfd polled{socket_.native_handle(), POLLRDHUP, 0};
  if (poll(&polled, 1, 0) <= 0) return;
  if ((polled.revents & (POLLERR | POLLHUP)) != 0) return close();
  if (streaming_ || version_ < 11 || now - last_probe_ < all_.limits.probe_time) return;
  last_probe_ = now;
  out_ += kContinue;
  send();
}

std::string HttpConnection::head_of(const HttpResponse& response, std::string_view length) {
  if (home_.stopping) keep_alive_ = false;
  std::string head = fmt::format("HTTP/1.1 {} {}\r\nContent-Type: {}\r\n", response.status,
                                 http_reason(response.status), response.content_type);
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
  if (!keep_alive_) return linger();
  if (!framing_.has_more()) return next_request();
  // Not from here: requests that came together would each lie on the stack of the one before.
  asio::post(home_.io, [self = shared_from_this()] {
    if (self->state_ == State::kLast) self->next_request();
  });
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
