// What the server does, for people (/state, which the page shows) and for Prometheus (/metrics).
#pragma once

#include <chrono>
#include <memory>
#include <mutex>
#include <optional>
#include <string>

#include "server/http.h"
#include "server/metrics.h"
#include "server/service.h"

namespace dak {

// Rates come from two snapshots, about a second apart. Any thread.
class StateWatch {
 public:
  // {"model": ..., "tiers": [...], "kv_pages": ..., ...}
  std::string json(const Service& service, const Metrics& metrics, bool draining);

 private:
  void sample(const ServingStats& stats);
  // Seconds; 0: no prediction, or nothing runs.
  double predicted_step(const Service& service, const ServingStats& stats);

  std::mutex mutex_;  // of all below
  std::chrono::steady_clock::time_point sampled_{};
  ServingStats last_;
  TierTraffic per_second_;                       // bytes read
  std::pair<int64_t, int64_t> predicted_for_{};  // sequences, tokens of each
  std::shared_ptr<const Plan> predicted_plan_;
  double predicted_step_s_ = 0;
};

// Prometheus' text format. `service` may be null: the model is loading.
std::string metrics_text(const Service* service, const Metrics& metrics,
                         const std::optional<HttpCounters>& http);

}  // namespace dak
