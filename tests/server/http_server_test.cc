// The HTTP server on a real socket: what clients may do to it, and what it does to them.
#include <gtest/gtest.h>

#include <atomic>
#include <functional>
#include <mutex>
#include <thread>

#include "base/error.h"
#include "http_client.h"
#include "server/http.h"
#include "support/throws_error.h"

namespace dak {
namespace {

using std::chrono::milliseconds;

// Answers by path: /echo the body, /stream what the test writes, /never nothing.
class HttpServerTest : public testing::TestWithParam<int> {
 protected:
  void start(HttpLimits limits = {}) {
    limits.threads = GetParam();
    server_ = std::make_unique<HttpServer>(
        "127.0.0.1", 0, limits,
        [this](HttpRequest request, const std::shared_ptr<Exchange>& exchange) {
          handle(std::move(request), exchange);
        },
        [](int status, std::string_view reason) {
          return std::to_string(status) + " " + std::string(reason);
        },
        [](const HttpRequest& request) {
          if (request.host == "foreign") throw HttpRefusal(403, "foreign");
        });
    server_->start();
  }
  void TearDown() override {
    if (server_) server_->stop(milliseconds(0));
  }

  void handle(HttpRequest request, const std::shared_ptr<Exchange>& exchange) {
    {
      const std::lock_guard lock(mutex_);
      last_ = exchange;
    }
    if (on_request_) {
      on_request_(exchange);
      ++handled_;
      return;
    }
    exchange->watch([] {}, [this] { ++gone_; });
    if (request.path == "/stream") {
      exchange->start_stream({.content_type = "text/event-stream", .body = "begin;"}, "beat;");
    } else if (request.path == "/large") {
      exchange->respond({.body = std::string(size_t{64} << 20, 'x')});
    } else if (request.path != "/never") {
      exchange->respond({.body = request.method + request.path + ":" + request.body});
    }
    ++handled_;
  }

  std::shared_ptr<Exchange> last() {
    const std::lock_guard lock(mutex_);
    return last_;
  }
  // Runs on the last exchange's thread, and waits for it.
  void on_server(const std::function<void(Exchange&)>& task) {
    const std::shared_ptr<Exchange> exchange = last();
    std::atomic<bool> done = false;
    exchange->post([&] {
      task(*exchange);
      done = true;
    });
    while (!done) std::this_thread::sleep_for(milliseconds(1));
  }
  HttpClient client(int receive_buffer_bytes = 0) {
    return HttpClient(server_->port(), receive_buffer_bytes);
  }
  void wait_for(const std::atomic<int>& counter, int value) {
    for (int i = 0; i < 1000 && counter < value; ++i) std::this_thread::sleep_for(milliseconds(10));
    EXPECT_GE(counter, value);
  }

  std::unique_ptr<HttpServer> server_;
  std::function<void(const std::shared_ptr<Exchange>&)> on_request_;
  std::mutex mutex_;
  std::shared_ptr<Exchange> last_;
  std::atomic<int> handled_ = 0;
  std::atomic<int> gone_ = 0;
};

TEST_P(HttpServerTest, AnswersRequestsOfOneConnectionInTurn) {
  start();
  HttpClient one = client();
  // Pipelined: all at once, the second split.
  one.send(post_text("/a", "first") + get_text("/b?query") +
           "POST /c HTTP/1.1\r\nHost: t\r\nContent-Le");
  EXPECT_EQ(one.answer().body, "POST/a:first");
  EXPECT_EQ(one.answer().body, "GET/b:");
  one.send("ngth: 5\r\n\r\nthird");
  EXPECT_EQ(one.answer().body, "POST/c:third");
}

TEST_P(HttpServerTest, ReadsChunksAndAsksForLargeBodies) {
  start();
  HttpClient one = client();
  one.send(
      "POST /a HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: "
      "chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n");
  EXPECT_EQ(one.answer().body, "POST/a:abcde");
  one.send("POST /b HTTP/1.1\r\nHost: t\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n");
  EXPECT_EQ(one.read_until("\r\n\r\n"), "HTTP/1.1 100 Continue\r\n\r\n");
  one.send("hi");
  EXPECT_EQ(one.answer().body, "POST/b:hi");
}

TEST_P(HttpServerTest, OlderClientsAndHead) {
  start();
  HttpClient old = client();
  old.send("GET /a HTTP/1.0\r\n\r\n");
  const HttpAnswer answer = old.answer();
  EXPECT_EQ(answer.body, "GET/a:");
  EXPECT_EQ(answer.headers.at("connection"), "close");
  EXPECT_TRUE(old.closed());
  HttpClient head = client();
  head.send("HEAD /a HTTP/1.1\r\nHost: t\r\n\r\n" + get_text("/b"));
  EXPECT_EQ(head.answer(10, true).headers.at("content-length"), "7");
  EXPECT_EQ(head.answer().body, "GET/b:");
}

// RFC 9110 2.5: a later minor version is answered as the latest that is known.
TEST_P(HttpServerTest, LaterMinorVersionsAreAnsweredAs11) {
  start();
  for (const char* version : {"1.2", "1.9"}) {
    HttpClient one = client();
    one.send(std::string("GET /a HTTP/") + version + "\r\nHost: t\r\n\r\n" + get_text("/b"));
    EXPECT_EQ(one.answer().body, "GET/a:");
    EXPECT_EQ(one.answer().body, "GET/b:");
  }
}

TEST_P(HttpServerTest, WhatIsNoHttpIsRefused) {
  start();
  for (const auto& [text, status] : std::vector<std::pair<std::string, int>>{
           {"\x16\x03\x01\x02 a TLS greeting\r\n\r\n", 400},
           {"GET / HTTP/1.1\r\nHost: t\r\nno colon\r\n\r\n", 400},
           {"GET / HTTP/3.7\r\n\r\n", 505},
           {"POST / HTTP/1.1\r\nHost: t\r\nContent-Length: -4\r\n\r\n", 400},
           {"POST / HTTP/1.1\r\nHost: t\r\nContent-Length: 4\r\nContent-Length: 5\r\n\r\n", 400},
           {"POST / HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n", 400}}) {
    HttpClient one = client();
    one.send(text);
    const HttpAnswer answer = one.answer();
    EXPECT_EQ(answer.status, status) << text;
    EXPECT_TRUE(one.closed()) << text;
  }
  EXPECT_EQ(handled_, 0);
}

// A length that two readers could understand in two ways: what follows is not run as a request.
TEST_P(HttpServerTest, NothingBehindABadLengthIsARequest) {
  start();
  const std::string inner = get_text("/inner");
  for (const std::string fields :
       {"Transfer-Encoding: xchunked\r\n", "Transfer-Encoding: identity\r\n",
        "Transfer-Encoding: gzip\r\n", "Transfer-Encoding: gzip, chunked\r\n",
        "Transfer-Encoding: chunked, identity\r\n",
        "Transfer-Encoding: \x0b"
        "chunked\r\n",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: chunked\r\nContent-Length: 4\r\n",
        "Transfer-Encoding: xchunked\r\nContent-Length: 200\r\n",
        "Content-Length: 5\r\nContent-Length: 6\r\n", "Content-Length: +5\r\n"}) {
    HttpClient one = client();
    one.send("POST /outer HTTP/1.1\r\nHost: t\r\n" + fields + "\r\n0\r\n\r\n" + inner);
    const HttpAnswer answer = one.answer();
    EXPECT_EQ(answer.status, 400) << fields;
    EXPECT_EQ(answer.headers.at("connection"), "close") << fields;
    EXPECT_TRUE(one.closed()) << fields;
  }
  EXPECT_EQ(handled_, 0);
}

TEST_P(HttpServerTest, AScreenedRequestIsRefusedBeforeItsBodyIsSent) {
  start();
  HttpClient one = client();
  one.send(
      "POST / HTTP/1.1\r\nHost: foreign:80\r\nContent-Length: 1000000\r\n"
      "Expect: 100-continue\r\n\r\n");
  EXPECT_EQ(one.answer().status, 403);
  EXPECT_TRUE(one.closed());
  EXPECT_EQ(handled_, 0);
}

TEST_P(HttpServerTest, LimitsHoldForWhatIsSaidAndForWhatIsSent) {
  start({.body_bytes = 1000, .header_bytes = 2000});
  HttpClient header = client();
  header.send("GET / HTTP/1.1\r\nHost: t\r\nX: " + std::string(5000, 'x'));
  EXPECT_EQ(header.answer().status, 431);
  HttpClient said = client();
  said.send("POST / HTTP/1.1\r\nHost: t\r\nContent-Length: 1001\r\n\r\n");
  EXPECT_EQ(said.answer().status, 413);
  HttpClient sent = client();
  sent.send("POST / HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n");
  for (int i = 0; i < 100; ++i) sent.send("64\r\n" + std::string(100, 'x') + "\r\n");
  EXPECT_EQ(sent.answer().status, 413);
  EXPECT_EQ(handled_, 0);
}

TEST_P(HttpServerTest, AllBodiesTogetherAreBounded) {
  start({.body_bytes = 1000, .all_bodies_bytes = 1500});
  HttpClient first = client();
  first.send("POST / HTTP/1.1\r\nHost: t\r\nContent-Length: 1000\r\n\r\nbegun");
  std::this_thread::sleep_for(milliseconds(50));
  HttpClient second = client();
  second.send("POST / HTTP/1.1\r\nHost: t\r\nContent-Length: 600\r\n\r\n");
  EXPECT_EQ(second.answer().status, 503);
  first.send(std::string(995, 'x'));
  EXPECT_EQ(first.answer().status, 200);
  HttpClient third = client();
  third.send(post_text("/", std::string(600, 'x')));
  EXPECT_EQ(third.answer().status, 200);
}

TEST_P(HttpServerTest, SlowClientsRunOutOfTime) {
  start({.header_time = milliseconds(300),
         .body_time = milliseconds(300),
         .idle_time = milliseconds(300)});
  HttpClient header = client();
  HttpClient body = client();
  HttpClient idle = client();
  body.send("POST / HTTP/1.1\r\nHost: t\r\nContent-Length: 10\r\n\r\n");
  header.send("GET / HTTP/1.1\r\nHost: t\r\n");
  const auto begin = std::chrono::steady_clock::now();
  for (int i = 0; i < 20; ++i) {  // a byte now and then does not help
    header.send("X-A: b\r\n");
    if (i < 9) body.send("x");
    std::this_thread::sleep_for(milliseconds(50));
  }
  EXPECT_EQ(header.answer().status, 408);
  EXPECT_EQ(body.answer().status, 408);
  EXPECT_TRUE(idle.closed());
  EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::seconds(8));
  EXPECT_EQ(handled_, 0);
}

TEST_P(HttpServerTest, AClientThatDoesNotReadIsCutOff) {
  start({.write_time = milliseconds(300)});
  HttpClient one = client(4096);
  one.send(get_text("/large"));
  wait_for(handled_, 1);
  std::this_thread::sleep_for(milliseconds(1000));
  EXPECT_EQ(server_->counters().open, 0);
}

TEST_P(HttpServerTest, StreamsAreChunkedAndKeptAlive) {
  start({.heartbeat = milliseconds(200)});
  HttpClient one = client();
  one.send(get_text("/stream") + get_text("/after"));
  wait_for(handled_, 1);
  std::this_thread::sleep_for(milliseconds(500));
  on_server([](Exchange& exchange) {
    exchange.write("more;");
    exchange.end_stream("most;");
    exchange.write("too late");
  });
  const HttpAnswer answer = one.answer();
  EXPECT_TRUE(answer.complete);
  EXPECT_EQ(answer.body.rfind("begin;beat;", 0), 0U) << answer.body;
  EXPECT_TRUE(answer.body.ends_with("more;most;")) << answer.body;
  EXPECT_EQ(one.answer().body, "GET/after:");
}

TEST_P(HttpServerTest, AClientThatLeavesIsNoticed) {
  start({.heartbeat = milliseconds(100), .probe_time = milliseconds(100)});
  {
    const HttpClient one = client();
    one.send(get_text("/never"));
    wait_for(handled_, 1);
  }
  wait_for(gone_, 1);
  {
    const HttpClient one = client();
    one.send(get_text("/stream"));
    wait_for(handled_, 2);
  }
  wait_for(gone_, 2);
}

TEST_P(HttpServerTest, AClientThatOnlyListensGetsItsStream) {
  start();
  HttpClient one = client();
  one.send(get_text("/stream"));
  wait_for(handled_, 1);
  one.close_sending();
  std::this_thread::sleep_for(milliseconds(100));
  on_server([](Exchange& exchange) {
    exchange.write("more;");
    exchange.end_stream({});
  });
  EXPECT_EQ(one.answer().body, "begin;more;");
  EXPECT_TRUE(one.closed());
  EXPECT_EQ(gone_, 0);
}

TEST_P(HttpServerTest, AClientThatLeavesWithMoreAskedIsNoticed) {
  start({.probe_time = milliseconds(100)});
  {
    const HttpClient one = client();
    one.send(get_text("/never"));
    wait_for(handled_, 1);
    one.send(get_text("/after"));
    std::this_thread::sleep_for(milliseconds(100));
  }
  wait_for(gone_, 1);
  EXPECT_EQ(handled_, 1);
}

// Asked whether it is there by an interim answer, which is no part of the answer.
TEST_P(HttpServerTest, AClientThatOnlyListensGetsItsWholeAnswer) {
  start({.probe_time = milliseconds(200)});
  HttpClient one = client();
  one.send(get_text("/never"));
  wait_for(handled_, 1);
  one.close_sending();
  EXPECT_EQ(one.read_until("\r\n\r\n"), "HTTP/1.1 100 Continue\r\n\r\n");
  on_server([](Exchange& exchange) { exchange.respond({.body = "whole"}); });
  HttpAnswer answer = one.answer();
  while (answer.status == 100) answer = one.answer();
  EXPECT_EQ(answer.body, "whole");
  EXPECT_TRUE(one.closed());
  EXPECT_EQ(gone_, 0);
}

TEST_P(HttpServerTest, RequestsBeforeAHalfCloseAreAllAnswered) {
  start();
  HttpClient one = client();
  one.send(post_text("/a", "first") + get_text("/b") + get_text("/c") + "GET /half HTT");
  one.close_sending();
  EXPECT_EQ(one.answer().body, "POST/a:first");
  EXPECT_EQ(one.answer().body, "GET/b:");
  EXPECT_EQ(one.answer().body, "GET/c:");
  EXPECT_TRUE(one.closed());
  EXPECT_EQ(handled_, 3);
}

TEST_P(HttpServerTest, ManyRequestsAtOnceAreAnsweredInTurn) {
  start();
  std::string all;
  constexpr int kRequests = 3000;
  for (int i = 0; i < kRequests; ++i) all += get_text("/" + std::to_string(i));
  HttpClient one = client();
  std::thread sender([&] { one.send(all); });
  for (int i = 0; i < kRequests; ++i)
    EXPECT_EQ(one.answer().body, "GET/" + std::to_string(i) + ":");
  sender.join();
}

TEST_P(HttpServerTest, TooManyConnectionsAreToldSo) {
  start({.connections = 2});
  HttpClient a = client();
  const HttpClient b = client();
  a.send(get_text("/a"));
  EXPECT_EQ(a.answer().status, 200);
  HttpClient c = client();
  EXPECT_EQ(c.answer().status, 503);
}

TEST_P(HttpServerTest, StopLetsAnswersEnd) {
  start();
  HttpClient idle = client();
  HttpClient one = client();
  one.send(get_text("/stream"));
  wait_for(handled_, 1);
  std::thread writer([this] {
    std::this_thread::sleep_for(milliseconds(300));
    last()->post([exchange = last()] {
      exchange->write("last;");
      exchange->end_stream({});
    });
  });
  EXPECT_TRUE(server_->stop(std::chrono::seconds(10)));
  writer.join();
  EXPECT_EQ(one.answer().body, "begin;last;");
  EXPECT_TRUE(idle.closed());
}

TEST_P(HttpServerTest, StopWaitsNoLongerThanItMay) {
  start();
  HttpClient one = client();
  one.send(get_text("/never"));
  wait_for(handled_, 1);
  EXPECT_FALSE(server_->stop(milliseconds(200)));
  EXPECT_TRUE(one.closed());
}

TEST_P(HttpServerTest, AnAddressThatCannotBeIsAnError) {
  start();
  const auto listen = [](const std::string& host, uint16_t port) {
    HttpServer(host, port, {}, {}, {});
  };
  EXPECT_TRUE(test::throws_error(ErrorCode::kInvalidArgument, "not an address",
                                 [&] { listen("not an address", 0); }));
  EXPECT_TRUE(test::throws_error(ErrorCode::kIo, std::to_string(server_->port()),
                                 [&] { listen("127.0.0.1", server_->port()); }));
}

// Another thread tells of news as an engine does: none is lost, and each stream has its own.
TEST_P(HttpServerTest, NewsOfManyStreamsReachTheirConnections) {
  struct Stream {
    std::shared_ptr<Exchange> exchange;
    std::atomic<int> made = 0;
    int written = 0;
  };
  constexpr int kStreams = 40;
  constexpr int kNews = 300;
  std::vector<std::unique_ptr<Stream>> streams;
  on_request_ = [&](const std::shared_ptr<Exchange>& exchange) {
    auto stream = std::make_unique<Stream>();
    stream->exchange = exchange;
    exchange->start_stream({}, "");
    exchange->watch(
        [one = stream.get()] {
          for (const int made = one->made; one->written < made && one->written < kNews;) {
            one->exchange->write(std::to_string(one->written++) + ";");
          }
          if (one->written == kNews) one->exchange->end_stream({});
        },
        [] {});
    const std::lock_guard lock(mutex_);
    streams.push_back(std::move(stream));
  };
  start();
  std::vector<HttpClient> clients;
  for (int i = 0; i < kStreams; ++i) {
    clients.push_back(client());
    clients.back().send(get_text("/"));
  }
  wait_for(handled_, kStreams);
  for (int news = 0; news < kNews; ++news) {
    for (const auto& stream : streams) {
      ++stream->made;
      stream->exchange->notify();
    }
    if (news % 50 == 0) std::this_thread::sleep_for(milliseconds(2));  // let them fall asleep
  }
  std::string all;
  for (int news = 0; news < kNews; ++news) all += std::to_string(news) + ";";
  for (HttpClient& one : clients) EXPECT_EQ(one.answer().body, all);
  server_->stop(milliseconds(0));
}

// However many threads accept at a time.
TEST_P(HttpServerTest, TheLimitOfConnectionsIsExact) {
  constexpr int kMost = 20;
  start({.connections = kMost});
  std::vector<HttpClient> clients;
  for (int i = 0; i < 3 * kMost; ++i) clients.push_back(client());
  for (HttpClient& one : clients) one.send(get_text("/never"));
  for (int i = 0; i < 1000 && server_->counters().refused < 2 * kMost; ++i) {
    std::this_thread::sleep_for(milliseconds(10));
  }
  wait_for(handled_, kMost);
  EXPECT_EQ(server_->counters().refused, 2 * kMost);
  EXPECT_EQ(handled_, kMost);
}

INSTANTIATE_TEST_SUITE_P(Threads, HttpServerTest, testing::Values(1, 3));

}  // namespace
}  // namespace dak
