#include "ops/operation_timer.h"

#include <algorithm>
#include <chrono>
#include <utility>

#include "base/seconds.h"
#include "ops/context.h"
#include "ops/cuda/backend.h"

namespace dak {
namespace {

class CpuTimer final : public OperationTimer {
 public:
  void begin() override { last_ = Clock::now(); }

  std::vector<Seconds> finish() override {
    std::vector<Seconds> all = kinds_;
    for (Seconds& kind : kinds_) {
      kind.seconds = 0;
      kind.count = 0;
    }
    return all;
  }

 private:
  using Clock = std::chrono::steady_clock;

  void mark(size_t kind) override {
    const Clock::time_point now = Clock::now();
    kinds_[kind].seconds += seconds_of(now - last_);
    kinds_[kind].count += 1;
    last_ = now;
  }

  Clock::time_point last_;
};

}  // namespace

void OperationTimer::leave(std::string_view kind) {
  if (--depth_ == 0) mark(index_of(kind));
}

size_t OperationTimer::index_of(std::string_view kind) {
  const auto known = std::ranges::find(kinds_, kind, &Seconds::name);
  if (known != kinds_.end()) return static_cast<size_t>(known - kinds_.begin());
  kinds_.push_back({.name = std::string(kind)});
  return kinds_.size() - 1;
}

std::unique_ptr<OperationTimer> make_operation_timer(OpContext& ctx) {
  if (ctx.backend == Backend::kCuda) return cuda::make_operation_timer(ctx);
  return std::make_unique<CpuTimer>();
}

TimedOperation::TimedOperation(OpContext& ctx, std::string_view kind)
    : timer_(ctx.timer), kind_(kind) {
  if (timer_ != nullptr) timer_->enter();
}

TimedOperation::~TimedOperation() {
  if (timer_ != nullptr) timer_->leave(kind_);
}

}  // namespace dak
