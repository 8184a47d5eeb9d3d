// What the server counts about requests. Any thread counts and reads.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <map>
#include <mutex>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace dak {

// Seconds, in fixed buckets.
class Histogram {
 public:
  explicit Histogram(std::vector<double> bounds)
      : bounds_(std::move(bounds)), counts_(bounds_.size() + 1) {}
  void observe(double value);
  void add(const Histogram& other);  // of the same bounds
  // Prometheus' cumulative buckets, sum and count.
  void print(std::string& out, std::string_view name, std::string_view help) const;

 private:
  std::vector<double> bounds_;
  std::vector<std::atomic<int64_t>> counts_;
  std::atomic<double> sum_ = 0;
};

struct Metrics {
  Metrics();
  void count_request(const std::string& route, int status);
  std::map<std::pair<std::string, int>, int64_t> requests() const;  // by route and status
  void add(const Metrics& other);

  Histogram first_token;  // from the request's last byte to its first token
  Histogram between_tokens;
  Histogram whole;     // from the request's last byte to the answer's end
  Histogram delivery;  // from a token's choice to its bytes being handed to the socket
  std::atomic<int64_t> slow_readers = 0;
  std::atomic<int64_t> clients_gone = 0;

 private:
  mutable std::mutex mutex_;
  std::map<std::pair<std::string, int>, int64_t> requests_;
};

// Counts of several threads without their getting in each other's way: four for every token.
class ThreadMetrics {
 public:
  Metrics& mine();  // the calling thread's
  void sum_to(Metrics& total) const;

 private:
  static constexpr size_t kParts = 16;  // a thread more than that shares one
  std::array<Metrics, kParts> parts_;
};

// One value, in Prometheus' text format. `labels` as in {tier="host"}, or empty.
void print_metric(std::string& out, std::string_view name, std::string_view type,
                  std::string_view help,
                  const std::vector<std::pair<std::string, double>>& values_by_labels);

}  // namespace dak
