// HTTP/1.1 on a socket, below any meaning: connections, limits, time-outs. A few threads serve all
// connections, each its own.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace dak {

struct HttpRequest {
  std::string method;
  std::string path;           // of the target, without the query; "*" of OPTIONS *
  std::string host;           // in lower case, without port; empty: an HTTP/1.0 client said none
  std::string authorization;  // header fields; empty: not there
  std::string api_key;        // X-Api-Key
  std::string origin;
  std::string content_type;
  std::string body;
  std::shared_ptr<void> body_lease;  // counts the body among HttpLimits::all_bodies_bytes
  std::string peer;                  // the client's address, without its port
  std::chrono::steady_clock::time_point received{};  // when its last byte came
};

// Why a request is not served: the status and the reason of the answer, after which the connection
// is closed.
class HttpRefusal : public std::runtime_error {
 public:
  HttpRefusal(int status, const std::string& reason)
      : std::runtime_error(reason), status_(status) {}
  int status() const { return status_; }

 private:
  int status_;
};

struct HttpResponse {
  int status = 200;
  std::string content_type = "application/json";
  std::vector<std::pair<std::string, std::string>> headers;  // beside type, length and connection
  std::string body;
};

// One request's way back. It outlives the connection: what comes after its end is dropped.
class Exchange {
 public:
  virtual ~Exchange() = default;

  // Any thread: runs `task` soon on the connection's thread.
  virtual void post(std::function<void()> task) = 0;
  // Any thread, cheap and often: what `watch` was given as `ready` is called soon on the
  // connection's thread, unless the answer is complete by then. Those that come while that thread
  // is still at those before share a wake-up.
  virtual void notify() = 0;

  // All below is for the connection's thread alone.

  virtual void respond(HttpResponse response) = 0;
  // Instead of respond: a body written bit by bit (`head.body` comes first). After each silence of
  // HttpLimits::heartbeat `heartbeat` is written, so that proxies keep the connection.
  virtual void start_stream(HttpResponse head, std::string heartbeat) = 0;
  virtual void write(std::string_view bytes) = 0;
  virtual void end_stream(std::string_view last) = 0;
  // Ends a stream so that the client sees it was cut off, after what is written has been sent.
  virtual void abort_stream() = 0;

  virtual size_t unsent_bytes() const = 0;
  // `ready` is called after `notify`, and when what had to wait for the client has gone to the
  // socket; `gone` once if the client leaves before the answer is complete, at once if it has left.
  // A client that has only closed its sending half waits for its answer like others.
  // Otherwise neither is called within a call to this. Both are kept until the answer is complete
  // or the client gone.
  virtual void watch(std::function<void()> ready, std::function<void()> gone) = 0;
};

// Called on the connection's thread; several may call at a time.
using HttpHandler = std::function<void(HttpRequest, std::shared_ptr<Exchange>)>;
// Called on it with the header alone, before the body is read; throws HttpRefusal.
using HttpScreen = std::function<void(const HttpRequest&)>;

struct HttpLimits {
  int threads = 1;
  int64_t body_bytes = int64_t{8} << 20;
  int64_t all_bodies_bytes = int64_t{256} << 20;  // of requests that are being read or parsed
  int64_t header_bytes = int64_t{16} << 10;
  int64_t connections = 4096;                     // over all threads
  std::chrono::milliseconds header_time{10'000};  // from the first byte of a request to its body
  std::chrono::milliseconds body_time{60'000};
  std::chrono::milliseconds idle_time{75'000};   // between requests
  std::chrono::milliseconds write_time{30'000};  // without the client taking a byte
  std::chrono::milliseconds heartbeat{15'000};
  // A client that has closed its sending half and waits for a whole answer may have left: each time
  // that so much has passed it is sent an interim answer (100), which a socket that is closed
  // resets.
  std::chrono::milliseconds probe_time{5'000};
};

// What happened to connections.
struct HttpCounters {
  int64_t open = 0;
  int64_t accepted = 0;
  int64_t refused = 0;    // too many at a time
  int64_t timed_out = 0;  // header, body or write
  int64_t malformed = 0;
};

class HttpServer {
 public:
  // Binds and listens; throws dak::Error (kIo) naming the address. port 0: any free one.
  // `refuse` makes the body of an answer that the server itself gives (a status and its reason).
  HttpServer(const std::string& address, uint16_t port, const HttpLimits& limits,
             HttpHandler handler, std::function<std::string(int, std::string_view)> refuse,
             HttpScreen screen = {});
  ~HttpServer();

  std::string address() const;
  uint16_t port() const;

  // Called on one of the server's threads for each SIGINT and SIGTERM from now on.
  void on_signal(std::function<void(int)> handler);

  void start();  // the threads
  // No new connections; idle ones are closed, those with an answer under way may end for as long as
  // `grace`. Then the threads end. Returns whether all answers were sent.
  bool stop(std::chrono::milliseconds grace);

  HttpCounters counters() const;  // any thread

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace dak
