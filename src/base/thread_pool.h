// A fixed set of threads for data-parallel loops. Work is divided by index alone, so that results
// never depend on timing; kernels also never let them depend on the number of threads.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>

namespace dak {

class ThreadPool {
 public:
  // `threads` >= 1 counts the caller; 0 takes what the process may use (affinity, cgroup quota).
  explicit ThreadPool(int threads = 0);
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  int size() const;

  // Calls body(begin, end, share) on contiguous shares of [0, count), at least `grain` indices
  // each and at most size() of them, numbered from 0: no two calls with the same number run at the
  // same time. Returns when all are done; the first exception thrown by a body is rethrown here.
  // Not reentrant: a body must not call parallel_for on the same pool.
  void parallel_for(int64_t count, int64_t grain,
                    const std::function<void(int64_t begin, int64_t end, int share)>& body);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

// CPUs this process may use: affinity mask and cgroup v1/v2 quota, at least 1.
int usable_cpus();

}  // namespace dak
