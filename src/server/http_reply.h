// An Exchange of a connection.
#pragma once

#include "server/http_thread.h"

namespace dak {

class HttpReply final : public Exchange, public std::enable_shared_from_this<HttpReply> {
 public:
  HttpReply(HttpThread& home, std::shared_ptr<HttpConnection> connection)
      : home_(home), connection_(std::move(connection)) {}

  void post(std::function<void()> task) override;
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

  HttpThread& home_;
  std::shared_ptr<HttpConnection>
      connection_;  // null once the answer is complete, or the client gone
  std::function<void()> ready_;
  std::function<void()> gone_;
};

}  // namespace dak
