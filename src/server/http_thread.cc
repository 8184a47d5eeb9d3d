#include "server/http_thread.h"

#include <boost/asio/post.hpp>

#include "server/http_connection.h"
#include "server/http_reply.h"

namespace dak {
namespace {

namespace asio = boost::asio;

constexpr auto kSweep = std::chrono::milliseconds(100);  // how often time-outs are looked at

}  // namespace

// `refuse`: there are too many.
void HttpThread::add(asio::ip::tcp::socket socket, bool refuse) {
  auto connection = std::make_shared<HttpConnection>(*this, std::move(socket));
  connections.insert(connection);
  if (refuse) {
    connection->refuse_all();
  } else {
    connection->next_request();
  }
}

void HttpThread::sweep() {
  timer.expires_after(kSweep);
  timer.async_wait([this](boost::system::error_code cancelled) {
    if (cancelled) return;
    const auto now = HttpClock::now();
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

void HttpThread::begin_stop(std::chrono::milliseconds grace) {
  stopping = true;
  stop_deadline = HttpClock::now() + grace;
  const auto all = connections;
  for (const auto& connection : all) {
    if (connection->idle()) connection->close();
  }
}

void HttpThread::notify(std::shared_ptr<HttpReply> reply) {
  {
    const std::lock_guard lock(mutex);
    news.push_back(std::move(reply));
    if (awake) return;
    awake = true;
  }
  asio::post(io, [this] { tell_news(); });
}

void HttpThread::tell_news() {
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

}  // namespace dak
