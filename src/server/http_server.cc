#include <fmt/core.h>
#include <pthread.h>

#include <boost/asio/dispatch.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/signal_set.hpp>

#include "base/error.h"
#include "server/http_connection.h"
#include "server/http_thread.h"

namespace dak {
namespace {

namespace asio = boost::asio;
using asio::ip::tcp;
using boost::system::error_code;

constexpr auto kAcceptPause = std::chrono::milliseconds(100);

[[noreturn]] void throw_listen(const std::string& address, uint16_t port, const error_code& error) {
  throw Error(ErrorCode::kIo, {.where = fmt::format("{} port {}", address, port),
                               .field = {},
                               .value = {},
                               .problem = "cannot listen: " + error.message(),
                               .fix = "use another --port or --host"});
}

}  // namespace

struct HttpServer::Impl : HttpShared {
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
    HttpThread& taker = **std::ranges::min_element(threads, fewest);
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

  static std::vector<std::unique_ptr<HttpThread>> make_threads(HttpShared& all, int count) {
    std::vector<std::unique_ptr<HttpThread>> made;
    made.reserve(static_cast<size_t>(count));
    for (int i = 0; i < count; ++i) made.push_back(std::make_unique<HttpThread>(all));
    return made;
  }

  std::string host;
  std::vector<std::unique_ptr<HttpThread>> threads;
  // The first accepts, and hears of signals.
  tcp::acceptor acceptor{threads.front()->io};
  asio::steady_timer pause{threads.front()->io};
  asio::signal_set signals{threads.front()->io};
  std::function<void(int)> signalled;
  bool all_sent = false;
};

HttpServer::HttpServer(const std::string& address, uint16_t port, const HttpLimits& limits,
                       HttpHandler handler,
                       std::function<std::string(int, std::string_view)> refuse, HttpScreen screen)
    : impl_(std::make_unique<Impl>(address, limits.threads)) {
  impl_->limits = limits;
  impl_->handler = std::move(handler);
  impl_->refuse = std::move(refuse);
  impl_->screen = std::move(screen);
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
