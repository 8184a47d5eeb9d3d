// How long the operations of a decode step take, one by one.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "engine/engine.h"
#include "ops/operation_timer.h"

namespace dak {

struct OperationTimes {
  // Of one step, in the order of a pass; of the steps timed those of the quickest.
  std::vector<OperationTimer::Seconds> operations;
  double total_s = 0;  // their sum: on a GPU more than a step, whose kernels overlap
  bool apart = false;  // timing kept operations from overlapping: a GPU's
};

// A decode step of these sequences, each with one more token, `steps` times over and after one that
// warms up. Nothing is kept of it: caches stay as they are. The sequences must have room for a
// token, and no step of theirs may be in flight. On a GPU kernels run without a graph, and
// the choice of the next tokens is left out.
OperationTimes time_operations(Engine& engine, std::span<KvHold* const> holds,
                               std::span<const TokenId> tokens, int64_t steps);

OperationTimes total_of(std::vector<OperationTimer::Seconds> operations, Backend backend);

// The context times for as long as this lives.
class TimingOperations {
 public:
  TimingOperations(OpContext& ctx, OperationTimer& timer) : ctx_(ctx) { ctx_.timer = &timer; }
  ~TimingOperations() { ctx_.timer = nullptr; }
  TimingOperations(const TimingOperations&) = delete;
  TimingOperations& operator=(const TimingOperations&) = delete;

 private:
  OpContext& ctx_;
};

}  // namespace dak
