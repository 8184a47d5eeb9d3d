// Times the operations of forward passes one by one, in the order in which they run.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace dak {

struct OpContext;

// Everything between the end of one operation and the end of the next is that one's.
class OperationTimer {
 public:
  virtual ~OperationTimer() = default;

  // Before the first operation of a pass.
  virtual void begin() = 0;
  // Operations inside others (a norm of query heads) are part of these.
  void enter() { ++depth_; }
  void leave(std::string_view kind);

  // Waits for what was timed. Seconds by kind ("layers.*.qkv", pass/names.h), of all passes since
  // the last call, in the order of their first appearance.
  struct Seconds {
    std::string name;
    double seconds = 0;
    int64_t count = 0;
  };
  virtual std::vector<Seconds> finish() = 0;

 protected:
  virtual void mark(size_t kind) = 0;

  std::vector<Seconds> kinds_;

 private:
  size_t index_of(std::string_view kind);

  int depth_ = 0;
};

// On the CPU by the clock; on a GPU by events in its stream. These keep kernels from overlapping,
// so that what is timed is each operation alone: together they take longer than a step does.
std::unique_ptr<OperationTimer> make_operation_timer(OpContext& ctx);

// One operation for as long as it lives.
class TimedOperation {
 public:
  TimedOperation(OpContext& ctx, std::string_view kind);  // `kind` lives as long
  ~TimedOperation();
  TimedOperation(const TimedOperation&) = delete;
  TimedOperation& operator=(const TimedOperation&) = delete;

 private:
  OperationTimer* timer_;
  std::string_view kind_;
};

}  // namespace dak
