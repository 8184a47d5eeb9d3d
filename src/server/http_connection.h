// A connection: reads requests, writes their answers, and keeps to its time limits.
#pragma once

#include "server/http_framing.h"
#include "server/http_reply.h"
#include "server/http_thread.h"

namespace dak {

class HttpConnection : public std::enable_shared_from_this<HttpConnection> {
 public:
  HttpConnection(HttpThread& home, boost::asio::ip::tcp::socket socket);

  void next_request();
  void sweep(HttpClock::time_point now);
  bool idle() const { return state_ == State::kIdle; }
  void close();
  // Before anything is read: there are too many.
  void refuse_all() { reject(503, "too many connections at a time; try again later"); }

  // For HttpReply.
  void respond(const HttpResponse& response);
  void start_stream(const HttpResponse& head, std::string heartbeat);
  void write_body(std::string_view bytes);
  void end_stream(std::string_view last);
  void abort_stream();
  size_t unsent_bytes() const { return out_.size() + writing_.size() - written_; }

 private:
  enum class State : uint8_t { kIdle, kHeader, kBody, kAnswer, kLast, kLinger, kClosed };

  bool reading() const {
    return state_ == State::kIdle || state_ == State::kHeader || state_ == State::kBody;
  }
  void go_on();
  void read_more();
  void receive();
  bool accept_head();
  bool lease_body();
  void reject(int status, std::string_view reason);
  void answer();
  void watch_client();
  void look_after_client(HttpClock::time_point now);
  std::string head_of(const HttpResponse& response, std::string_view length);
  void add_to_body(std::string_view bytes);
  void finish();
  void send();
  void write_some();
  void all_sent();
  void tell_sent();
  void linger();
  void discard();

  HttpThread& home_;
  HttpShared& all_;
  boost::asio::ip::tcp::socket socket_;
  HttpFraming framing_;
  std::shared_ptr<void> body_lease_;
  std::string peer_;
  std::shared_ptr<HttpReply> reply_;  // while an answer is under way
  State state_ = State::kIdle;
  unsigned version_ = 11;
  bool head_ = false;  // the method is HEAD: no body
  bool keep_alive_ = false;
  bool chunked_ = false;
  bool streaming_ = false;
  bool half_closed_ = false;  // the client has, and all that it sent has been read
  bool ahead_ = false;        // it has sent more before this answer is complete
  bool watching_ = false;
  bool sending_ = false;
  std::string heartbeat_;
  std::string out_;      // to be sent after what is being sent
  std::string writing_;  // being sent
  size_t written_ = 0;
  HttpClock::time_point last_write_{};
  HttpClock::time_point last_probe_{};
  HttpClock::time_point read_deadline_ = kNever;
  HttpClock::time_point write_deadline_ = kNever;
};

}  // namespace dak
