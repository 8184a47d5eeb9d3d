#include "server/http_reply.h"

#include <boost/asio/post.hpp>

#include "server/http_connection.h"

namespace dak {

void HttpReply::post(std::function<void()> task) {
  boost::asio::post(home_.io, [self = shared_from_this(), task = std::move(task)] { task(); });
}
void HttpReply::respond(HttpResponse response) {
  if (!connection_) return;
  const auto connection = connection_;
  detach();
  connection->respond(response);
}
void HttpReply::start_stream(HttpResponse head, std::string heartbeat) {
  if (connection_) connection_->start_stream(head, std::move(heartbeat));
}
void HttpReply::write(std::string_view bytes) {
  if (connection_) connection_->write_body(bytes);
}
void HttpReply::end_stream(std::string_view last) {
  if (!connection_) return;
  const auto connection = connection_;
  detach();
  connection->end_stream(last);
}
void HttpReply::abort_stream() {
  if (!connection_) return;
  const auto connection = connection_;
  detach();
  connection->abort_stream();
}
size_t HttpReply::unsent_bytes() const { return connection_ ? connection_->unsent_bytes() : 0; }

}  // namespace dak
