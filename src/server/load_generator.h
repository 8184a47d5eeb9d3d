// Loads a server that speaks OpenAI's API, dak's or another's, as many clients would: every request
// is a stream of /v1/completions over a connection of its own.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

namespace dak {

// Whole numbers from `low` to `high`, each as likely.
struct CountRange {
  int64_t low = 1;
  int64_t high = 1;
};

struct ServeLoad {
  std::string host = "127.0.0.1";  // a name or an address
  uint16_t port = 8000;
  std::string key;    // API key; empty: none
  std::string model;  // empty: left out of the request
  int64_t requests = 100;
  int64_t concurrency = 0;  // most at a time; 0: no limit
  double rate_per_s = 0;    // arrivals, exponentially apart; 0: as soon as `concurrency` allows
  CountRange prompt_tokens{.low = 128, .high = 128};
  CountRange output_tokens{.low = 64, .high = 64};
  int64_t threads = 1;        // that read the answers, each its share of them
  int64_t shared_prefix = 0;  // tokens that all prompts begin with
  uint64_t seed = 1;
  std::vector<int32_t> vocabulary;     // tokens to draw prompts from
  std::chrono::seconds patience{600};  // for one request
};

struct LoadResult {
  std::string error;   // empty: the answer came whole
  double due_s = 0;    // after the first was due; waits for a free place count as the server's time
  double first_s = 0;  // from `due_s` to the first token
  double whole_s = 0;  // from `due_s` to the end
  std::vector<double> between_s;  // chunks, one a token unless the server joins some
  int64_t prompt_tokens = 0;      // as the server counted
  int64_t output_tokens = 0;
};

struct LoadHooks {
  std::function<void(int64_t done)> on_done = {};  // by one thread at a time
  const std::atomic<bool>* cancel = nullptr;
};

// One result for each request, in order of arrival. Throws kIo where the server cannot be reached,
// and kInvalidArgument.
std::vector<LoadResult> generate_load(const ServeLoad& options, const LoadHooks& hooks = {});

// The body of a GET's answer; throws where its status is not 200.
std::string ask_text(const ServeLoad& options, std::string_view path);
// Token ids of a text, as the server's /tokenize gives them; throws where it has none.
std::vector<int32_t> ask_tokens(const ServeLoad& options, const std::string& text);

}  // namespace dak
