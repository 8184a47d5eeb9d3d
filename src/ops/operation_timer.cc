#include "ops/operation_timer.h"

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

std::string without_layer(std::string_view name) {
  constexpr std::string_view kPrefix = "layers.";
  if (!name.starts_with(kPrefix)) return std::string(name);
  const size_t rest = name.find('.', kPrefix.size());
  return "layers.*" + std::string(rest == std::string_view::npos ? "" : name.substr(rest));
}

void OperationTimer::leave(std::string_view name) {
  if (--depth_ == 0) mark(kind_of(name));
}

size_t OperationTimer::kind_of(std::string_view name) {
  const auto known = index_.find(std::string(name));
  if (known != index_.end()) return known->second;
  const std::string kind = without_layer(name);
  size_t at = 0;
  while (at < kinds_.size() && kinds_[at].name != kind) ++at;
  if (at == kinds_.size()) kinds_.push_back({.name = kind});
  return index_.emplace(name, at).first->second;
}

std::unique_ptr<OperationTimer> make_operation_timer(OpContext& ctx) {
  if (ctx.backend == Backend::kCuda) return cuda::make_operation_timer(ctx);
  return std::make_unique<CpuTimer>();
}

TimedOperation::TimedOperation(OpContext& ctx, std::string_view name)
    : timer_(ctx.timer), name_(name) {
  if (timer_ != nullptr) timer_->enter();
}

TimedOperation::~TimedOperation() {
  if (timer_ != nullptr) timer_->leave(name_);
}

}  // namespace dak
