// What the server needs of an engine: a scheduler, or a test's stand-in.
#pragma once

#include <atomic>
#include <chrono>
#include <mutex>
#include <vector>

#include "engine/scheduler.h"
#include "ops/cuda_backend.h"

namespace dak {

class Generator {
 public:
  virtual ~Generator() = default;
  // As in Scheduler.
  virtual RequestId submit(ServingRequest request) = 0;
  virtual void cancel(RequestId id) = 0;
  virtual ServingStats stats() const = 0;
  // Of each tier's link, as of about a second ago while tokens come; empty: nothing is known.
  virtual std::vector<LinkStatus> links() { return {}; }
};

class SchedulerGenerator final : public Generator {
 public:
  SchedulerGenerator(Scheduler& scheduler, const Engine& engine)
      : scheduler_(scheduler), engine_(engine) {}
  RequestId submit(ServingRequest request) override;
  void cancel(RequestId id) override { scheduler_.cancel(id); }
  ServingStats stats() const override { return scheduler_.stats(); }
  std::vector<LinkStatus> links() override;

 private:
  using Clock = std::chrono::steady_clock;
  void look_at_links();

  Scheduler& scheduler_;
  const Engine& engine_;
  std::atomic<Clock::time_point> wanted_until_ = Clock::time_point();
  Clock::time_point looked_{};  // of the engine's thread
  std::mutex mutex_;            // of links_
  std::vector<LinkStatus> links_;
};

}  // namespace dak
