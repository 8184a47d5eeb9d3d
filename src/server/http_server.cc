// The only file that includes Boost: it takes long to compile.
#include <fmt/core.h>
#include <pthread.h>
#include <sys/socket.h>

#include <atomic>
#include <boost/asio/dispatch.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/signal_set.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/http/parser.hpp>
#include <boost/beast/http/read.hpp>
#include <boost/beast/http/string_body.hpp>
#include <mutex>
#include <optional>
#include <thread>
#include <unordered_set>

#include "base/error.h"
#include "server/http.h"

namespace dak {
namespace {

namespace asio = boost::asio;
namespace http = boost::beast::http;
using asio::ip::tcp;
using boost::system::error_code;
using Clock = std::chrono::steady_clock;

constexpr auto kNever = Clock::time_point::max();
constexpr auto kSweep = std::chrono::milliseconds(100);  // how often time-outs are looked at
constexpr auto kLingerTime = std::chrono::seconds(2);    // for a client that is still sending
constexpr size_t kDiscardBytes = 4096;
constexpr auto kAcceptPause = std::chrono::milliseconds(100);

class Connection;

class Reply;

// What all threads of one server share.
struct Common {
  HttpLimits limits;
  HttpHandler handler;
  std::function<std::string(int, std::string_view)> refuse;
  struct {
    std::atomic<int64_t> open = 0;
    std::atomic<int64_t> accepted = 0;
    std::atomic<int64_t> refused = 0;
    std::atomic<int64_t> timed_out = 0;
    std::atomic<int64_t> malformed = 0;
  } counters;
  std::shared_ptr<std::atomic<int64_t>> body_bytes = std::make_shared<std::atomic<int64_t>>(0);
};

// A thread and its connections. Other threads use `io`, `open` and `notify` alone.
struct IoThread {
  explicit IoThread(Common& all) : common(all) {}

  void add(tcp::socket socket, bool refuse);
  void sweep();
  void begin_stop(std::chrono::milliseconds grace);
  void notify(std::shared_ptr<Reply> reply);
  void tell_news();

  Common& common;
  asio::io_context io{1};
  std::atomic<int64_t> open = 0;  // connections, from when they are accepted
  std::unordered_set<std::shared_ptr<Connection>> connections;
  asio::steady_timer timer{io};
  bool stopping = false;
  Clock::time_point stop_deadline = kNever;
  bool all_sent = false;

  std::mutex mutex;                          // of these two
  std::vector<std::shared_ptr<Reply>> news;  // those that were notified
  bool awake = false;                        // tell_news will look at them

  std::vector<std::shared_ptr<Reply>> told;
  std::thread thread;
};

class Reply final : public Exchange, public std::enable_shared_from_this<Reply> {
 public:
  Reply(IoThread& home, std::shared_ptr<Connection> connection)
      : home_(home), connection_(std::move(connection)) {}

  void post(std::function<void()> task) override {
    asio::post(home_.io, [self = shared_from_this(), task = std::move(task)] { task(); });
  }
  void notify() override { home_.notify(shared_from_this()); }
  void respond(HttpResponse response) override;
  void start_stream(HttpResponse head, std::string heartbeat) override;
  void write(std::string_view bytes) override;
  void end_stream(std::string_view last) override;
  void abort_stream() override;
  size_t unsent_bytes() const override;
  void watch(std::function<void()> ready, std::function<void()> gone) override {
    if (!connection_) return gone();
    ready_ = std::move(ready);
    gone_ = std::move(gone);
  }

  void ready() {
    // A copy: it may end the answer, and so itself.
    if (const auto told = ready_) told();
  }
  void lost() {
    const auto gone = std::move(gone_);
    detach();
    if (gone) gone();
  }

 private:
  void detach() {
    connection_.reset();
    ready_ = nullptr;
    gone_ = nullptr;
  }

  IoThread& home_;
  std::shared_ptr<Connection> connection_;  // null once the answer is complete, or the client gone
  std::function<void()> ready_;
  std::function<void()> gone_;
};

class Connection : public std::enable_shared_from_this<Connection> {
 public:
  Connection(IoThread& home, tcp::socket socket)
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

  void next_request() {
    if (home_.stopping || half_closed_) return close();
    state_ = State::kIdle;
    parser_.emplace();
    body_lease_.reset();
    parser_->header_limit(static_cast<uint32_t>(all_.limits.header_bytes));
    parser_->body_limit(static_cast<uint64_t>(all_.limits.body_bytes));
    if (buffer_.size() > 0) return read_header();
    read_deadline_ = Clock::now() + all_.limits.idle_time;
    socket_.async_wait(tcp::socket::wait_read, [self = shared_from_this()](error_code error) {
      if (self->state_ != State::kIdle) return;
      if (error) return self->close();
      self->read_header();
    });
  }

  void sweep(Clock::time_point now) {
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

  bool idle() const { return state_ == State::kIdle; }

  void close() {
    if (state_ == State::kClosed) return;
    state_ = State::kClosed;
    read_deadline_ = write_deadline_ = kNever;
    streaming_ = false;
    error_code ignored;
    socket_.close(ignored);
    const std::shared_ptr<Connection> self = shared_from_this();
    if (const auto reply = std::move(reply_)) reply->lost();
    home_.connections.erase(self);
    --home_.open;
    --all_.counters.open;
  }

  // Before anything is read: there are too many.
  void refuse_all() { reject(503, "too many connections at a time; try again later"); }

  // For Reply.
  void respond(const HttpResponse& response) {
    reply_.reset();
    const bool body = !head_;
    out_ += head_of(response, fmt::format("Content-Length: {}\r\n", response.body.size()));
    if (body) out_ += response.body;
    finish();
  }
  void start_stream(const HttpResponse& head, std::string heartbeat) {
    chunked_ = version_ >= 11;
    if (!chunked_) keep_alive_ = false;
    out_ += head_of(head, chunked_ ? "Transfer-Encoding: chunked\r\n" : "");
    heartbeat_ = std::move(heartbeat);
    streaming_ = true;
    last_write_ = Clock::now();
    write_body(head.body);
    send();
  }
  void write_body(std::string_view bytes) {
    add_to_body(bytes);
    send();
  }
  void end_stream(std::string_view last) {
    reply_.reset();
    streaming_ = false;
    add_to_body(last);
    if (chunked_ && !head_) out_ += "0\r\n\r\n";
    finish();
  }
  void abort_stream() {
    reply_.reset();
    streaming_ = false;
    keep_alive_ = false;
    finish();
  }
  size_t unsent_bytes() const { return out_.size() + writing_.size() - written_; }

 private:
  enum class State : uint8_t { kIdle, kHeader, kBody, kAnswer, kLast, kLinger, kClosed };

  void read_header() {
    state_ = State::kHeader;
    read_deadline_ = Clock::now() + all_.limits.header_time;
    http::async_read_header(socket_, buffer_, *parser_,
                            [self = shared_from_this()](error_code error, size_t) {
                              if (self->state_ != State::kHeader) return;
                              if (error) return self->read_failed(error);
                              self->read_body();
                            });
  }

  void read_body() {
    version_ = parser_->get().version();
    head_ = parser_->get().method() == http::verb::head;
    keep_alive_ = parser_->keep_alive();
    const auto length = parser_->content_length();
    if (length && *length > static_cast<uint64_t>(all_.limits.body_bytes)) {
      return read_failed(http::error::body_limit);
    }
    state_ = State::kBody;
    read_deadline_ = Clock::now() + all_.limits.body_time;
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

  void read_failed(error_code error) {
    if (error == http::error::header_limit || error == http::error::buffer_overflow) {
      ++all_.counters.malformed;
      return reject(431,
                    fmt::format("the header is longer than {} bytes", all_.limits.header_bytes));
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
    reject(error == http::error::bad_version ? 505 : 400,
           "this is not HTTP/1.1: " + error.message());
  }

  // An answer of the server's own; what else the client sends is not read.
  void reject(int status, std::string_view reason) {
    keep_alive_ = false;
    state_ = State::kAnswer;
    respond({.status = status, .body = all_.refuse(status, reason)});
  }

  void answer() {
    state_ = State::kAnswer;
    read_deadline_ = kNever;
    HttpRequest request{.received = Clock::now()};
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
    reply_ = std::make_shared<Reply>(home_, shared_from_this());
    watch_client();
    all_.handler(std::move(request), reply_);
  }

  // Whether the client is still there. Bytes that come meanwhile are its next request: they wait.
  void watch_client() {
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

  std::string head_of(const HttpResponse& response, std::string_view length) {
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

  void add_to_body(std::string_view bytes) {
    if (bytes.empty() || head_) return;
    last_write_ = Clock::now();
    if (chunked_) fmt::format_to(std::back_inserter(out_), "{:x}\r\n", bytes.size());
    out_ += bytes;
    if (chunked_) out_ += "\r\n";
  }

  void finish() {
    state_ = State::kLast;
    send();
  }

  // Mostly the socket takes all at once. What it does not take is written as it comes free; errors
  // are told there too, never within a call of the answer's.
  void send() {
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

  void write_some() {
    write_deadline_ = Clock::now() + all_.limits.write_time;
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

  void all_sent() {
    if (keep_alive_) return next_request();
    linger();
  }
  void tell_sent() {
    if (const auto reply = reply_) reply->ready();
  }

  // Closing a socket with bytes unread resets it, and the client may never see the answer.
  void linger() {
    state_ = State::kLinger;
    error_code ignored;
    socket_.shutdown(tcp::socket::shutdown_send, ignored);
    read_deadline_ = Clock::now() + kLingerTime;
    writing_.resize(kDiscardBytes);
    discard();
  }
  void discard() {
    socket_.async_read_some(asio::buffer(writing_),
                            [self = shared_from_this()](error_code error, size_t) {
                              if (self->state_ != State::kLinger) return;
                              if (error) return self->close();
                              self->discard();
                            });
  }

  IoThread& home_;
  Common& all_;
  tcp::socket socket_;
  boost::beast::flat_buffer buffer_;
  std::optional<http::request_parser<http::string_body>> parser_;
  std::shared_ptr<void> body_lease_;
  std::string peer_;
  std::shared_ptr<Reply> reply_;  // while an answer is under way
  State state_ = State::kIdle;
  unsigned version_ = 11;
  bool head_ = false;  // the method is HEAD: no body
  bool keep_alive_ = false;
  bool chunked_ = false;
  bool streaming_ = false;
  bool half_closed_ = false;
  bool watching_ = false;
  bool sending_ = false;
  std::string heartbeat_;
  std::string out_;      // to be sent after what is being sent
  std::string writing_;  // being sent
  size_t written_ = 0;
  Clock::time_point last_write_{};
  Clock::time_point read_deadline_ = kNever;
  Clock::time_point write_deadline_ = kNever;
};

void Reply::respond(HttpResponse response) {
  if (!connection_) return;
  const auto connection = connection_;
  detach();
  connection->respond(response);
}
void Reply::start_stream(HttpResponse head, std::string heartbeat) {
  if (connection_) connection_->start_stream(head, std::move(heartbeat));
}
void Reply::write(std::string_view bytes) {
  if (connection_) connection_->write_body(bytes);
}
void Reply::end_stream(std::string_view last) {
  if (!connection_) return;
  const auto connection = connection_;
  detach();
  connection->end_stream(last);
}
void Reply::abort_stream() {
  if (!connection_) return;
  const auto connection = connection_;
  detach();
  connection->abort_stream();
}
size_t Reply::unsent_bytes() const { return connection_ ? connection_->unsent_bytes() : 0; }

// `refuse`: there are too many.
void IoThread::add(tcp::socket socket, bool refuse) {
  auto connection = std::make_shared<Connection>(*this, std::move(socket));
  connections.insert(connection);
  if (refuse) {
    connection->refuse_all();
  } else {
    connection->next_request();
  }
}

void IoThread::sweep() {
  timer.expires_after(kSweep);
  timer.async_wait([this](error_code cancelled) {
    if (cancelled) return;
    const auto now = Clock::now();
    const auto all = connections;  // sweeping may close some
    for (const auto& connection : all) connection->sweep(now);
    if (stopping && (connections.empty() || now >= stop_deadline)) {
      all_sent = connections.empty();
      const auto left = connections;
      for (const auto& connection : left) connection->close();
      io.stop();
      return;
    }
    sweep();
  });
}

void IoThread::begin_stop(std::chrono::milliseconds grace) {
  stopping = true;
  stop_deadline = Clock::now() + grace;
  const auto all = connections;
  for (const auto& connection : all) {
    if (connection->idle()) connection->close();
  }
}

void IoThread::notify(std::shared_ptr<Reply> reply) {
  {
    const std::lock_guard lock(mutex);
    news.push_back(std::move(reply));
    if (awake) return;
    awake = true;
  }
  asio::post(io, [this] { tell_news(); });
}

void IoThread::tell_news() {
  {
    const std::lock_guard lock(mutex);
    awake = !news.empty();
    if (!awake) return;
    told.swap(news);
  }
  for (const auto& reply : told) reply->ready();
  told.clear();
  // What came meanwhile needs no waking; other events of this thread go first.
  asio::post(io, [this] { tell_news(); });
}

[[noreturn]] void throw_listen(const std::string& address, uint16_t port, const error_code& error) {
  throw Error(ErrorCode::kIo, {.where = fmt::format("{} port {}", address, port),
                               .field = {},
                               .value = {},
                               .problem = "cannot listen: " + error.message(),
                               .fix = "use another --port or --host"});
}

}  // namespace

struct HttpServer::Impl : Common {
  Impl(const std::string& address, int count)
      : host(address), threads(make_threads(*this, count)) {}

  void listen(uint16_t port) {
    error_code error;
    const auto parsed = asio::ip::make_address(host == "localhost" ? "127.0.0.1" : host, error);
    if (error) {
      throw_invalid("--host", {}, host, "is not an address", "e.g. 127.0.0.1, 0.0.0.0 or ::1");
    }
    const tcp::endpoint endpoint(parsed, port);
    acceptor.open(endpoint.protocol(), error);
    if (!error) acceptor.set_option(asio::socket_base::reuse_address(true), error);
    if (!error) acceptor.bind(endpoint, error);
    if (!error) acceptor.listen(asio::socket_base::max_listen_connections, error);
    if (error) throw_listen(host, port, error);
  }

  // The thread with the fewest connections takes the next.
  void accept() {
    const auto fewest = [](const auto& a, const auto& b) { return a->open < b->open; };
    IoThread& taker = **std::ranges::min_element(threads, fewest);
    acceptor.async_accept(taker.io, [this, &taker](error_code error, tcp::socket socket) {
      if (!acceptor.is_open()) return;
      if (error) {  // no file descriptors, mostly: some will come back
        pause.expires_after(kAcceptPause);
        return pause.async_wait([this](error_code cancelled) {
          if (!cancelled) accept();
        });
      }
      ++counters.accepted;
      ++taker.open;
      const bool too_many = ++counters.open > limits.connections;
      if (too_many) ++counters.refused;
      asio::dispatch(taker.io, [&taker, too_many, socket = std::move(socket)]() mutable {
        taker.add(std::move(socket), too_many);
      });
      accept();
    });
  }

  void wait_for_signal() {
    signals.async_wait([this](error_code cancelled, int number) {
      if (cancelled) return;
      if (signalled) signalled(number);
      wait_for_signal();
    });
  }

  static std::vector<std::unique_ptr<IoThread>> make_threads(Common& all, int count) {
    std::vector<std::unique_ptr<IoThread>> made;
    made.reserve(static_cast<size_t>(count));
    for (int i = 0; i < count; ++i) made.push_back(std::make_unique<IoThread>(all));
    return made;
  }

  std::string host;
  std::vector<std::unique_ptr<IoThread>> threads;
  // The first accepts, and hears of signals.
  tcp::acceptor acceptor{threads.front()->io};
  asio::steady_timer pause{threads.front()->io};
  asio::signal_set signals{threads.front()->io};
  std::function<void(int)> signalled;
  bool all_sent = false;
};

HttpServer::HttpServer(const std::string& address, uint16_t port, const HttpLimits& limits,
                       HttpHandler handler,
                       std::function<std::string(int, std::string_view)> refuse)
    : impl_(std::make_unique<Impl>(address, limits.threads)) {
  impl_->limits = limits;
  impl_->handler = std::move(handler);
  impl_->refuse = std::move(refuse);
  impl_->listen(port);
}

HttpServer::~HttpServer() { stop(std::chrono::milliseconds(0)); }

std::string HttpServer::address() const {
  return impl_->acceptor.local_endpoint().address().to_string();
}
uint16_t HttpServer::port() const { return impl_->acceptor.local_endpoint().port(); }

HttpCounters HttpServer::counters() const {
  const auto& counters = impl_->counters;
  return {.open = counters.open,
          .accepted = counters.accepted,
          .refused = counters.refused,
          .timed_out = counters.timed_out,
          .malformed = counters.malformed};
}

void HttpServer::on_signal(std::function<void(int)> handler) {
  impl_->signalled = std::move(handler);
  impl_->signals.add(SIGINT);
  impl_->signals.add(SIGTERM);
  impl_->wait_for_signal();
}

void HttpServer::start() {
  impl_->accept();
  for (const auto& one : impl_->threads) {
    one->sweep();
    one->thread = std::thread([io = &one->io] {
      pthread_setname_np(pthread_self(), "dak http");  // for top
      io->run();
    });
  }
}

bool HttpServer::stop(std::chrono::milliseconds grace) {
  if (!impl_->threads.front()->thread.joinable()) return impl_->all_sent;
  // What has been accepted reaches its thread before the word to stop.
  asio::post(impl_->threads.front()->io, [impl = impl_.get(), grace] {
    error_code ignored;
    impl->acceptor.close(ignored);
    for (const auto& one : impl->threads) {
      asio::dispatch(one->io, [to = one.get(), grace] { to->begin_stop(grace); });
    }
  });
  impl_->all_sent = true;
  for (const auto& one : impl_->threads) {
    one->thread.join();
    impl_->all_sent = impl_->all_sent && one->all_sent;
  }
  return impl_->all_sent;
}

}  // namespace dak
