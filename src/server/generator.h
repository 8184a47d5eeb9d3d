// What the server needs of an engine: a scheduler, or a test's stand-in.
#pragma once

#include <future>
#include <string>
#include <utility>

#include "scheduler/scheduler.h"

namespace dak {

class Generator {
 public:
  virtual ~Generator() = default;
  // As in Scheduler.
  virtual RequestId submit(ServingRequest request) = 0;
  virtual void cancel(RequestId id) = 0;
  virtual ServingStats stats() const = 0;
  virtual std::future<void> revoke_tier(std::string name) = 0;
};

class SchedulerGenerator final : public Generator {
 public:
  explicit SchedulerGenerator(Scheduler& scheduler) : scheduler_(scheduler) {}
  RequestId submit(ServingRequest request) override {
    return scheduler_.submit(std::move(request));
  }
  void cancel(RequestId id) override { scheduler_.cancel(id); }
  ServingStats stats() const override { return scheduler_.stats(); }
  std::future<void> revoke_tier(std::string name) override {
    return scheduler_.revoke_tier(std::move(name));
  }

 private:
  Scheduler& scheduler_;
};

}  // namespace dak
