// The event loop: the threads of an HttpServer, each with its own connections.
#pragma once

#include <atomic>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/steady_timer.hpp>
#include <mutex>
#include <thread>
#include <unordered_set>
#include <vector>

#include "server/http.h"

namespace dak {

class HttpConnection;
class HttpReply;

using HttpClock = std::chrono::steady_clock;
inline constexpr auto kNever = HttpClock::time_point::max();

// What all threads of one server share.
struct HttpShared {
  HttpLimits limits;
  HttpHandler handler;
  std::function<std::string(int, std::string_view)> refuse;
  HttpScreen screen;  // may be unset
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
struct HttpThread {
  explicit HttpThread(HttpShared& all) : common(all) {}

  void add(boost::asio::ip::tcp::socket socket, bool refuse);
  void sweep();
  void begin_stop(std::chrono::milliseconds grace);
  void notify(std::shared_ptr<HttpReply> reply);
  void tell_news();

  HttpShared& common;
  boost::asio::io_context io{1};
  std::atomic<int64_t> open = 0;  // connections, from when they are accepted
  std::unordered_set<std::shared_ptr<HttpConnection>> connections;
  boost::asio::steady_timer timer{io};
  bool stopping = false;
  HttpClock::time_point stop_deadline = kNever;
  bool all_sent = false;

  std::mutex mutex;                              // of these two
  std::vector<std::shared_ptr<HttpReply>> news;  // those that were notified
  bool awake = false;                            // tell_news will look at them

  std::vector<std::shared_ptr<HttpReply>> told;
  std::thread thread;
};

}  // namespace dak
