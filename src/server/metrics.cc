#include "server/metrics.h"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>

namespace dak {

void Histogram::observe(double value) {
  const auto bucket = std::ranges::lower_bound(bounds_, value) - bounds_.begin();
  counts_[static_cast<size_t>(bucket)].fetch_add(1, std::memory_order_relaxed);
  sum_.fetch_add(value, std::memory_order_relaxed);
}

void Histogram::add(const Histogram& other) {
  for (size_t i = 0; i < counts_.size(); ++i) counts_[i] += other.counts_[i];
  sum_ += other.sum_;
}

void Histogram::print(std::string& out, std::string_view name, std::string_view help) const {
  const auto to = std::back_inserter(out);
  fmt::format_to(to, "# HELP {0} {1}\n# TYPE {0} histogram\n", name, help);
  int64_t below = 0;
  for (size_t i = 0; i < bounds_.size(); ++i) {
    below += counts_[i];
    fmt::format_to(to, "{}_bucket{{le=\"{}\"}} {}\n", name, bounds_[i], below);
  }
  // Not a total of its own: the buckets and the count agree whoever counts meanwhile.
  fmt::format_to(to, "{0}_bucket{{le=\"+Inf\"}} {1}\n{0}_sum {2}\n{0}_count {1}\n", name,
                 below + counts_.back(), sum_.load());
}

Metrics::Metrics()
    : first_token({0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120}),
      between_tokens({0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5}),
      whole({0.01, 0.05, 0.1, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600}),
      delivery({0.00005, 0.0001, 0.00025, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.05, 0.1, 1}) {}

void Metrics::count_request(const std::string& route, int status) {
  const std::lock_guard lock(mutex_);
  ++requests_[{route, status}];
}

std::map<std::pair<std::string, int>, int64_t> Metrics::requests() const {
  const std::lock_guard lock(mutex_);
  return requests_;
}

void Metrics::add(const Metrics& other) {
  for (const auto& [key, count] : other.requests()) requests_[key] += count;
  first_token.add(other.first_token);
  between_tokens.add(other.between_tokens);
  whole.add(other.whole);
  delivery.add(other.delivery);
  slow_readers += other.slow_readers;
  clients_gone += other.clients_gone;
}

Metrics& ThreadMetrics::mine() {
  static std::atomic<size_t> threads = 0;
  thread_local const size_t number = threads++;
  return parts_[number % kParts];
}

void ThreadMetrics::sum_to(Metrics& total) const {
  for (const Metrics& part : parts_) total.add(part);
}

void print_metric(std::string& out, std::string_view name, std::string_view type,
                  std::string_view help,
                  const std::vector<std::pair<std::string, double>>& values_by_labels) {
  const auto to = std::back_inserter(out);
  fmt::format_to(to, "# HELP {0} {1}\n# TYPE {0} {2}\n", name, help, type);
  for (const auto& [labels, value] : values_by_labels) {
    fmt::format_to(to, "{}{} {}\n", name, labels, value);
  }
}

}  // namespace dak
