#include "server/load_generator.h"

#include <fmt/format.h>
#include <netdb.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <charconv>
#include <cmath>
#include <exception>
#include <mutex>
#include <nlohmann/json.hpp>
#include <random>
#include <thread>

#include "base/error.h"
#include "base/json.h"
#include "base/seconds.h"
#include "server/json_text.h"

namespace dak {
namespace {

using Clock = std::chrono::steady_clock;

[[noreturn]] void fail(const ServeLoad& options, const std::string& problem) {
  throw Error(ErrorCode::kIo, {.where = fmt::format("{}:{}", options.host, options.port),
                               .field = {},
                               .value = {},
                               .problem = problem,
                               .fix = "is `dak serve` running there?"});
}

// An address that a name stands for.
struct Endpoint {
  explicit Endpoint(const ServeLoad& options) {
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

std::string head_text(const ServeLoad& options, std::string_view method, std::string_view path) {
  const std::string key =
      options.key.empty() ? "" : fmt::format("Authorization: Bearer {}\r\n", options.key);
  return fmt::format("{} {} HTTP/1.1\r\nHost: {}:{}\r\n{}Connection: close\r\n", method, path,
                     options.host, options.port, key);
}

std::string post_text(const ServeLoad& options, std::string_view path, std::string_view body) {
  return head_text(options, "POST", path) +
         fmt::format("Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{}", body.size(),
                     body);
}

// One answer as its bytes come: header, chunks, body.
class AnswerReader {
 public:
  // Adds to the body.
  void push(std::string_view bytes, std::string& body) {
    held_ += bytes;
    if (status_ == 0 && !read_header()) return;
    size_t at = 0;
    if (chunked_) {
      while (read_chunk(body, at)) {
      }
    } else {
      body += held_;
      at = held_.size();
    }
    held_.erase(0, at);
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
  bool read_chunk(std::string& body, size_t& at) {
    if (left_ == 0) {
      const size_t end = held_.find("\r\n", at);
      if (end == std::string::npos) return false;
      if (end > at) std::from_chars(held_.data() + at, held_.data() + end, left_, 16);
      at = end + 2;
      return true;  // an empty line ends the chunk before
    }
    const size_t part = std::min(left_, held_.size() - at);
    body.append(held_, at, part);
    at += part;
    left_ -= part;
    return part > 0;
  }

  std::string held_;
  int status_ = 0;
  bool chunked_ = false;
  size_t left_ = 0;
};

// Whether a token's event has text, without reading all its JSON; nullopt: it must be read. In JSON
// the name of a field cannot be part of a text: its quotes would be escaped.
std::optional<bool> says_text(std::string_view event) {
  constexpr std::string_view kText = "\"text\":";
  if (event.find("\"error\"") != std::string_view::npos) return std::nullopt;
  const size_t usage = event.find("\"usage\":");
  if (usage != std::string_view::npos && event.find('{', usage) != std::string_view::npos) {
    return std::nullopt;
  }
  size_t at = event.find(kText);
  if (at == std::string_view::npos) return std::nullopt;
  at += kText.size();
  if (at < event.size() && event[at] == ' ') ++at;
  if (at + 1 >= event.size() || event[at] != '"') return std::nullopt;
  return event[at + 1] != '"';
}

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

// The requests and what came of them, of all threads.
class Load {
 public:
  Load(const ServeLoad& options, const LoadHooks& hooks)
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

  std::vector<LoadResult> run();

 private:
  friend class LoadThread;

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

  const ServeLoad& options_;
  const LoadHooks& hooks_;
  Endpoint endpoint_;
  std::mt19937_64 random_;
  std::vector<int32_t> prefix_;
  std::vector<std::string> bodies_;
  std::vector<double> due_;
  std::vector<LoadResult> results_;
  Clock::time_point begun_;
  std::atomic<size_t> next_ = 0;
  std::atomic<bool> failed_ = false;
  std::mutex mutex_;  // of these two, and of on_done
  size_t done_ = 0;
  std::exception_ptr failure_;
};

// Some of the streams: each thread has its share of the places.
class LoadThread {
 public:
  // `places`: 0, no limit: this thread's are then every `step`th request, from `first` on.
  LoadThread(Load& load, int64_t places, size_t first, size_t step)
      : load_(load),
        options_(load.options_),
        results_(load.results_),
        places_(places),
        own_next_(first),
        step_(step) {}
  ~LoadThread() {
    for (const Flight& flight : flights_) close(flight.fd);
  }
  LoadThread(const LoadThread&) = delete;
  LoadThread& operator=(const LoadThread&) = delete;

  void run() {
    while (next() < results_.size() || !flights_.empty()) {
      const auto* cancel = load_.hooks_.cancel;
      if ((cancel != nullptr && cancel->load()) || load_.failed_) return;
      start_due();
      if (!flights_.empty() || next() < results_.size()) wait();
    }
  }

 private:
  size_t next() const { return places_ > 0 ? load_.next_.load() : own_next_; }
  // False: another thread has taken it.
  bool take(size_t index) {
    if (places_ > 0) return load_.next_.compare_exchange_strong(index, index + 1);
    own_next_ += step_;
    return true;
  }

  bool may_start() const { return places_ == 0 || std::ssize(flights_) < places_; }

  void start_due() {
    while (may_start()) {
      const size_t index = next();
      if (index >= results_.size() || seconds_of(Clock::now() - load_.begun_) < load_.due_[index]) {
        return;
      }
      if (!take(index)) continue;
      Flight flight{.index = index,
                    .out = post_text(options_, "/v1/completions", load_.bodies_[index])};
      // With a rate a request that finds no free place waits, as its client would.
      flight.due = options_.rate_per_s > 0
                       ? load_.begun_ + std::chrono::duration_cast<Clock::duration>(
                                            std::chrono::duration<double>(load_.due_[index]))
                       : Clock::now();
      results_[index].due_s = seconds_of(flight.due - load_.begun_);
      flight.fd = socket(load_.endpoint_.family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
      if (flight.fd < 0) fail(options_, "no more sockets: use a larger `ulimit -n`");
      const int status =
          connect(flight.fd, reinterpret_cast<const sockaddr*>(load_.endpoint_.address.data()),
                  static_cast<socklen_t>(load_.endpoint_.address.size()));
      if (status != 0 && errno != EINPROGRESS) fail(options_, "cannot connect");
      flights_.push_back(std::move(flight));
    }
  }

  void wait() {
    std::vector<pollfd> polled;
    for (const Flight& flight : flights_) {
      const bool sending = flight.sent < flight.out.size();
      polled.push_back({flight.fd, static_cast<short>(sending ? POLLIN | POLLOUT : POLLIN), 0});
    }
    double most_s = 0.1;
    if (const size_t index = next(); index < results_.size() && may_start()) {
      most_s = std::clamp(load_.due_[index] - seconds_of(Clock::now() - load_.begun_), 0.0, most_s);
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
    flight.reader.push({buffer, static_cast<size_t>(got)}, flight.body);
    if (flight.reader.status() != 200) return true;
    size_t at = 0;
    for (size_t end = 0; (end = flight.body.find("\n\n", at)) != std::string::npos; at = end + 2) {
      const std::string_view line = std::string_view(flight.body).substr(at, end - at);
      if (line.starts_with("data: ")) read_event(flight, line.substr(6), now);
    }
    flight.body.erase(0, at);
    return !flight.done;
  }

  void read_event(Flight& flight, std::string_view text, Clock::time_point now) {
    LoadResult& result = results_[flight.index];
    if (text == "[DONE]") {
      flight.done = true;
      result.whole_s = seconds_of(now - flight.due);
      return;
    }
    bool said = false;
    if (const std::optional<bool> seen = says_text(text)) {
      said = *seen;
    } else {
      said = read_json(text, result);
    }
    if (!said) return;
    if (flight.last == Clock::time_point()) {
      result.first_s = seconds_of(now - flight.due);
    } else {
      result.between_s.push_back(seconds_of(now - flight.last));
    }
    flight.last = now;
  }

  // Whether the event has a choice with text in it.
  static bool read_json(std::string_view text, LoadResult& result) {
    const Json event = Json::parse(text, nullptr, false);
    if (!event.is_object()) return false;
    if (event.contains("error")) {
      result.error = event["error"].dump();
    } else if (const auto usage = event.find("usage"); usage != event.end() && usage->is_object()) {
      result.prompt_tokens = usage->value("prompt_tokens", int64_t{0});
      result.output_tokens = usage->value("completion_tokens", int64_t{0});
    }
    if (!event.contains("choices") || event["choices"].empty()) return false;
    const Json& choice = event["choices"][0];
    const auto said = choice.find("text");
    return said != choice.end() && said->is_string() &&
           !said->get_ref<const std::string&>().empty();
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
    const std::lock_guard lock(load_.mutex_);
    ++load_.done_;
    if (load_.hooks_.on_done) load_.hooks_.on_done(static_cast<int64_t>(load_.done_));
  }

  Load& load_;
  const ServeLoad& options_;
  std::vector<LoadResult>& results_;
  int64_t places_;
  size_t own_next_;
  size_t step_;
  std::vector<Flight> flights_;
};

std::vector<LoadResult> Load::run() {
  const auto count = static_cast<size_t>(options_.concurrency > 0
                                             ? std::min(options_.threads, options_.concurrency)
                                             : options_.threads);
  begun_ = Clock::now();
  const auto run_one = [this, count](size_t number) {
    try {
      const auto all = static_cast<size_t>(options_.concurrency);
      const size_t places = all / count + (number < all % count ? 1 : 0);
      LoadThread(*this, static_cast<int64_t>(places), number, count).run();
    } catch (...) {  // for who asked
      const std::lock_guard lock(mutex_);
      failure_ = std::current_exception();
      failed_ = true;
    }
  };
  std::vector<std::thread> threads;
  for (size_t number = 1; number < count; ++number) threads.emplace_back(run_one, number);
  run_one(0);
  for (std::thread& thread : threads) thread.join();
  if (failure_) std::rethrow_exception(failure_);
  return std::move(results_);
}

void check_range(CountRange range, std::string_view field) {
  constexpr int64_t kMost = int64_t{1} << 30;
  if (range.low < 1 || range.high < range.low || range.high > kMost) {
    throw_invalid("load", field, fmt::format("{}-{}", range.low, range.high),
                  "is no range of counts");
  }
}

}  // namespace

std::vector<LoadResult> generate_load(const ServeLoad& options, const LoadHooks& hooks) {
  check_range(options.prompt_tokens, "prompt tokens");
  check_range(options.output_tokens, "output tokens");
  if (options.requests < 1)
    throw_invalid("load", "requests", std::to_string(options.requests), "is no count");
  if (!(options.rate_per_s >= 0))
    throw_invalid("load", "rate", fmt::format("{}", options.rate_per_s), "is negative");
  if (options.rate_per_s == 0 && options.concurrency < 1) {
    throw_invalid("load", "concurrency", {}, "or a rate must be given");
  }
  if (options.threads < 1)
    throw_invalid("load", "threads", std::to_string(options.threads), "is no count");
  return Load(options, hooks).run();
}

namespace {

// Body of the answer to a request; throws where its status is not 200.
std::string ask(const ServeLoad& options, std::string_view path, const std::string& request) {
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
    reader.push({buffer, static_cast<size_t>(got)}, body);
  }
  close(fd);
  if (reader.status() != 200) {
    fail(options, fmt::format("{} answers {} {}", path, reader.status(), printable(body, 200)));
  }
  return body;
}

}  // namespace

std::string ask_text(const ServeLoad& options, std::string_view path) {
  return ask(options, path, head_text(options, "GET", path) + "\r\n");
}

std::vector<int32_t> ask_tokens(const ServeLoad& options, const std::string& text) {
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
