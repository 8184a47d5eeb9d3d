#include "server/load_generator.h"

#include <fmt/format.h>
#include <netdb.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <charconv>
#include <cmath>
#include <nlohmann/json.hpp>
#include <random>

#include "base/error.h"
#include "base/json.h"
#include "server/json_text.h"

namespace dak {
namespace {

using Clock = std::chrono::steady_clock;

double seconds(Clock::duration time) { return std::chrono::duration<double>(time).count(); }

[[noreturn]] void fail(const LoadOptions& options, const std::string& problem) {
  throw Error(ErrorCode::kIo, {.where = fmt::format("{}:{}", options.host, options.port),
                               .field = {},
                               .value = {},
                               .problem = problem,
                               .fix = "is `dak serve` running there?"});
}

// An address that a name stands for.
struct Endpoint {
  explicit Endpoint(const LoadOptions& options) {
    addrinfo wanted{};
    wanted.ai_socktype = SOCK_STREAM;
    addrinfo* found = nullptr;
    const int status =
        getaddrinfo(options.host.c_str(), std::to_string(options.port).c_str(), &wanted, &found);
    if (status != 0) fail(options, gai_strerror(status));
    family = found->ai_family;
    const auto* bytes = reinterpret_cast<const char*>(found->ai_addr);
    address.assign(bytes, bytes + found->ai_addrlen);
    freeaddrinfo(found);
  }
  int family = AF_INET;
  std::vector<char> address;
};

std::string head_text(const LoadOptions& options, std::string_view method, std::string_view path) {
  const std::string key =
      options.key.empty() ? "" : fmt::format("Authorization: Bearer {}\r\n", options.key);
  return fmt::format("{} {} HTTP/1.1\r\nHost: {}:{}\r\n{}Connection: close\r\n", method, path,
                     options.host, options.port, key);
}

std::string post_text(const LoadOptions& options, std::string_view path, std::string_view body) {
  return head_text(options, "POST", path) +
         fmt::format("Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{}", body.size(),
                     body);
}

// One answer as its bytes come: header, chunks, body.
class AnswerReader {
 public:
  // What the bytes add to the body.
  std::string push(std::string_view bytes) {
    held_ += bytes;
    std::string body;
    if (status_ == 0 && !read_header()) return body;
    if (!chunked_) {
      body.swap(held_);
      return body;
    }
    while (read_chunk(body)) {
    }
    return body;
  }
  int status() const { return status_; }

 private:
  bool read_header() {
    const size_t end = held_.find("\r\n\r\n");
    if (end == std::string::npos) return false;
    const std::string head = held_.substr(0, end);
    held_.erase(0, end + 4);
    status_ = head.size() > 12 ? std::atoi(head.c_str() + 9) : -1;
    chunked_ = head.find("chunked") != std::string::npos;
    return true;
  }
  bool read_chunk(std::string& body) {
    if (left_ == 0) {
      const size_t end = held_.find("\r\n");
      if (end == std::string::npos) return false;
      if (end > 0) std::from_chars(held_.data(), held_.data() + end, left_, 16);
      held_.erase(0, end + 2);
      return true;  // an empty line ends the chunk before
    }
    if (held_.empty()) return false;
    const size_t part = std::min(left_, held_.size());
    body += held_.substr(0, part);
    held_.erase(0, part);
    left_ -= part;
    return true;
  }

  std::string held_;
  int status_ = 0;
  bool chunked_ = false;
  size_t left_ = 0;
};

// A request on its way.
struct Flight {
  size_t index = 0;
  int fd = -1;
  std::string out;
  size_t sent = 0;
  AnswerReader reader;
  std::string body;  // not yet read lines of it, or an error's text
  Clock::time_point due, last;
  bool done = false;  // [DONE] came
};

class Load {
 public:
  Load(const LoadOptions& options, const LoadHooks& hooks)
      : options_(options), hooks_(hooks), endpoint_(options), random_(options.seed) {
    if (options.vocabulary.empty()) throw_invalid("load", "vocabulary", {}, "is empty");
    for (int64_t i = 0; i < options.shared_prefix; ++i) prefix_.push_back(draw_token());
    double at = 0;
    for (int64_t i = 0; i < options.requests; ++i) {
      bodies_.push_back(make_body());
      due_.push_back(at);
      if (options.rate_per_s > 0) at -= std::log(1 - draw_share()) / options.rate_per_s;
    }
    results_.resize(bodies_.size());
  }

  std::vector<LoadResult> run() {
    begun_ = Clock::now();
    while (done_ < results_.size()) {
      if (hooks_.cancel != nullptr && hooks_.cancel->load()) break;
      start_due();
      wait();
    }
    for (const Flight& flight : flights_) close(flight.fd);
    return std::move(results_);
  }

 private:
  // std's distributions differ from library to library: a seed is to mean one load everywhere.
  double draw_share() { return static_cast<double>(random_() >> 11) * 0x1p-53; }
  int64_t draw(CountRange range) {
    return range.low +
           static_cast<int64_t>(random_() % static_cast<uint64_t>(range.high - range.low + 1));
  }
  int32_t draw_token() { return options_.vocabulary[random_() % options_.vocabulary.size()]; }

  std::string make_body() {
    std::vector<int32_t> prompt = prefix_;
    const int64_t length = std::max<int64_t>(draw(options_.prompt_tokens), std::ssize(prefix_) + 1);
    while (std::ssize(prompt) < length) prompt.push_back(draw_token());
    const std::string model =
        options_.model.empty() ? "" : fmt::format("\"model\":{},", json_string(options_.model));
    return fmt::format(
        R"({{{}"prompt":[{}],"max_tokens":{},"ignore_eos":true,"temperature":0,"stream":true,"stream_options":{{"include_usage":true}}}})",
        model, fmt::join(prompt, ","), draw(options_.output_tokens));
  }

  bool may_start() const {
    return options_.concurrency == 0 || std::ssize(flights_) < options_.concurrency;
  }

  void start_due() {
    while (next_ < bodies_.size() && may_start() && seconds(Clock::now() - begun_) >= due_[next_]) {
      Flight flight{.index = next_, .out = post_text(options_, "/v1/completions", bodies_[next_])};
      // With a rate a request that finds no free place waits, as its client would.
      flight.due = options_.rate_per_s > 0
                       ? begun_ + std::chrono::duration_cast<Clock::duration>(
                                      std::chrono::duration<double>(due_[next_]))
                       : Clock::now();
      results_[next_].due_s = seconds(flight.due - begun_);
      flight.fd = socket(endpoint_.family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
      if (flight.fd < 0) fail(options_, "no more sockets: use a larger `ulimit -n`");
      const int status =
          connect(flight.fd, reinterpret_cast<const sockaddr*>(endpoint_.address.data()),
                  static_cast<socklen_t>(endpoint_.address.size()));
      if (status != 0 && errno != EINPROGRESS) fail(options_, "cannot connect");
      flights_.push_back(std::move(flight));
      ++next_;
    }
  }

  void wait() {
    std::vector<pollfd> polled;
    for (const Flight& flight : flights_) {
      const bool sending = flight.sent < flight.out.size();
      polled.push_back({flight.fd, static_cast<short>(sending ? POLLIN | POLLOUT : POLLIN), 0});
    }
    double most_s = 0.1;
    if (next_ < due_.size() && may_start()) {
      most_s = std::clamp(due_[next_] - seconds(Clock::now() - begun_), 0.0, most_s);
    }
    poll(polled.data(), polled.size(), static_cast<int>(std::ceil(most_s * 1000)));
    const auto now = Clock::now();
    for (size_t i = flights_.size(); i-- > 0;) {
      Flight& flight = flights_[i];
      bool over = false;
      if ((polled[i].revents & POLLOUT) != 0) over = !send_more(flight);
      if (!over && (polled[i].revents & (POLLIN | POLLHUP | POLLERR)) != 0)
        over = !receive(flight, now);
      if (!over && now - flight.due > options_.patience) {
        results_[flight.index].error = "took too long";
        over = true;
      }
      if (over) end(i);
    }
  }

  bool send_more(Flight& flight) {
    const ssize_t sent = send(flight.fd, flight.out.data() + flight.sent,
                              flight.out.size() - flight.sent, MSG_NOSIGNAL);
    if (sent < 0) return errno == EAGAIN;
    flight.sent += static_cast<size_t>(sent);
    return true;
  }

  // False at the end of the answer.
  bool receive(Flight& flight, Clock::time_point now) {
    char buffer[16384];
    const ssize_t got = recv(flight.fd, buffer, sizeof(buffer), 0);
    if (got < 0 && errno == EAGAIN) return true;
    if (got <= 0) return false;
    flight.body += flight.reader.push({buffer, static_cast<size_t>(got)});
    if (flight.reader.status() != 200) return true;
    for (size_t end = 0; (end = flight.body.find("\n\n")) != std::string::npos;) {
      const std::string line = flight.body.substr(0, end);
      flight.body.erase(0, end + 2);
      if (line.starts_with("data: ")) read_event(flight, line.substr(6), now);
    }
    return !flight.done;
  }

  void read_event(Flight& flight, const std::string& text, Clock::time_point now) {
    LoadResult& result = results_[flight.index];
    if (text == "[DONE]") {
      flight.done = true;
      result.whole_s = seconds(now - flight.due);
      return;
    }
    const Json event = Json::parse(text, nullptr, false);
    if (!event.is_object()) return;
    if (event.contains("error")) {
      result.error = event["error"].dump();
    } else if (const auto usage = event.find("usage"); usage != event.end() && usage->is_object()) {
      result.prompt_tokens = usage->value("prompt_tokens", int64_t{0});
      result.output_tokens = usage->value("completion_tokens", int64_t{0});
    }
    if (!event.contains("choices") || event["choices"].empty()) return;
    const Json& choice = event["choices"][0];
    const auto said = choice.find("text");
    if (said == choice.end() || !said->is_string() || said->get_ref<const std::string&>().empty())
      return;
    if (flight.last == Clock::time_point()) {
      result.first_s = seconds(now - flight.due);
    } else {
      result.between_s.push_back(seconds(now - flight.last));
    }
    flight.last = now;
  }

  void end(size_t at) {
    Flight& flight = flights_[at];
    LoadResult& result = results_[flight.index];
    if (result.error.empty() && !flight.done) {
      result.error = flight.reader.status() == 0 ? "no answer"
                                                 : fmt::format("{} {}", flight.reader.status(),
                                                               printable(flight.body, 200));
    }
    close(flight.fd);
    flights_.erase(flights_.begin() + static_cast<ptrdiff_t>(at));
    ++done_;
    if (hooks_.on_done) hooks_.on_done(static_cast<int64_t>(done_));
  }

  const LoadOptions& options_;
  const LoadHooks& hooks_;
  Endpoint endpoint_;
  std::mt19937_64 random_;
  std::vector<int32_t> prefix_;
  std::vector<std::string> bodies_;
  std::vector<double> due_;
  std::vector<LoadResult> results_;
  std::vector<Flight> flights_;
  size_t next_ = 0;
  size_t done_ = 0;
  Clock::time_point begun_;
};

void check_range(CountRange range, std::string_view field) {
  constexpr int64_t kMost = int64_t{1} << 30;
  if (range.low < 1 || range.high < range.low || range.high > kMost) {
    throw_invalid("load", field, fmt::format("{}-{}", range.low, range.high),
                  "is no range of counts");
  }
}

}  // namespace

std::vector<LoadResult> generate_load(const LoadOptions& options, const LoadHooks& hooks) {
  check_range(options.prompt_tokens, "prompt tokens");
  check_range(options.output_tokens, "output tokens");
  if (options.requests < 1)
    throw_invalid("load", "requests", std::to_string(options.requests), "is no count");
  if (!(options.rate_per_s >= 0))
    throw_invalid("load", "rate", fmt::format("{}", options.rate_per_s), "is negative");
  if (options.rate_per_s == 0 && options.concurrency < 1) {
    throw_invalid("load", "concurrency", {}, "or a rate must be given");
  }
  return Load(options, hooks).run();
}

namespace {

// Body of the answer to a request; throws where its status is not 200.
std::string ask(const LoadOptions& options, std::string_view path, const std::string& request) {
  const Endpoint endpoint(options);
  const int fd = socket(endpoint.family, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (connect(fd, reinterpret_cast<const sockaddr*>(endpoint.address.data()),
              static_cast<socklen_t>(endpoint.address.size())) != 0) {
    close(fd);
    fail(options, "cannot connect");
  }
  send(fd, request.data(), request.size(), MSG_NOSIGNAL);
  AnswerReader reader;
  std::string body;
  char buffer[16384];
  for (ssize_t got = 0; (got = recv(fd, buffer, sizeof(buffer), 0)) > 0;) {
    body += reader.push({buffer, static_cast<size_t>(got)});
  }
  close(fd);
  if (reader.status() != 200) {
    fail(options, fmt::format("{} answers {} {}", path, reader.status(), printable(body, 200)));
  }
  return body;
}

}  // namespace

std::string ask_text(const LoadOptions& options, std::string_view path) {
  return ask(options, path, head_text(options, "GET", path) + "\r\n");
}

std::vector<int32_t> ask_tokens(const LoadOptions& options, const std::string& text) {
  constexpr std::string_view kPath = "/tokenize";
  const std::string body =
      ask(options, kPath,
          post_text(options, kPath,
                    R"({"add_special_tokens":false,"prompt":)" + json_string(text) + "}"));
  const Json json = Json::parse(body, nullptr, false);
  if (!json.is_object() || !json.contains("tokens")) {
    fail(options, fmt::format("{} answers {}", kPath, printable(body, 200)));
  }
  return json["tokens"].get<std::vector<int32_t>>();
}

}  // namespace dak
