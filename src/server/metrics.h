// What the server counts about requests. Of one thread: the HTTP server's.
#pragma once

#include <array>
#include <cstdint>
#include <map>
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
  int64_t count() const { return total_; }
  // Prometheus' cumulative buckets, sum and count.
  void print(std::string& out, std::string_view name, std::string_view help) const;

 private:
  std::vector<double> bounds_;
  std::vector<int64_t> counts_;
  double sum_ = 0;
  int64_t total_ = 0;
};

struct Metrics {
  Metrics();

  std::map<std::pair<std::string, int>, int64_t> requests;  // by route and status
  Histogram first_token;  // from the request's last byte to its first token
  Histogram between_tokens;
  Histogram whole;     // from the request's last byte to the answer's end
  Histogram delivery;  // from a token's choice to its bytes being handed to the socket
  int64_t slow_readers = 0;
  int64_t clients_gone = 0;
};

// One value, in Prometheus' text format. `labels` as in {tier="host"}, or empty.
void print_metric(std::string& out, std::string_view name, std::string_view type,
                  std::string_view help,
                  const std::vector<std::pair<std::string, double>>& values_by_labels);

}  // namespace dak
