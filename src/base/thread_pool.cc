#include "base/thread_pool.h"

#include <sched.h>

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <cstdio>
#include <exception>
#include <fstream>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

namespace dak {
namespace {

// CPU quota of this process's cgroup in whole CPUs, or a large number when there is none.
int cgroup_cpus() {
  constexpr int kNoQuota = 1 << 20;
  double quota = 0;
  double period = 0;
  if (std::ifstream v2("/sys/fs/cgroup/cpu.max"); v2) {
    std::string first;
    if (!(v2 >> first >> period) || first == "max") return kNoQuota;
    quota = std::atof(first.c_str());
  } else {
    std::ifstream v1_quota("/sys/fs/cgroup/cpu/cpu.cfs_quota_us");
    std::ifstream v1_period("/sys/fs/cgroup/cpu/cpu.cfs_period_us");
    if (!(v1_quota >> quota) || !(v1_period >> period)) return kNoQuota;
  }
  if (quota <= 0 || period <= 0) return kNoQuota;
  return std::max(1, static_cast<int>(quota / period));
}

constexpr int kSpins = 4000;  // about 20 us: the gap between two operations of a decode step

void pause() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#endif
}

}  // namespace

int usable_cpus() {
  cpu_set_t set;
  CPU_ZERO(&set);
  int affinity = static_cast<int>(std::thread::hardware_concurrency());
  if (sched_getaffinity(0, sizeof(set), &set) == 0) affinity = CPU_COUNT(&set);
  return std::max(1, std::min(affinity, cgroup_cpus()));
}

struct ThreadPool::State {
  std::vector<std::thread> workers;
  std::mutex mutex;
  std::condition_variable wake;
  std::atomic<uint64_t> generation{0};
  std::atomic<int> pending{0};
  std::atomic<bool> stop{false};
  // The loop in flight; written before `generation` is advanced, read after it is seen.
  int64_t count = 0;
  int64_t shares = 1;
  const std::function<void(int64_t, int64_t, int)>* body = nullptr;
  std::mutex error_mutex;
  std::exception_ptr error;

  void run_share(int thread) {
    if (thread >= shares) return;
    const int64_t begin = count * thread / shares;
    const int64_t end = count * (thread + 1) / shares;
    try {
      if (begin < end) (*body)(begin, end, thread);
    } catch (...) {
      const std::lock_guard lock(error_mutex);
      if (!error) error = std::current_exception();
    }
  }

  void worker(int thread) {
    uint64_t seen = 0;
    while (true) {
      for (int i = 0; i < kSpins && generation.load(std::memory_order_acquire) == seen; ++i) {
        pause();
      }
      if (generation.load(std::memory_order_acquire) == seen) {
        std::unique_lock lock(mutex);
        wake.wait(lock, [&] { return generation.load(std::memory_order_acquire) != seen; });
      }
      seen = generation.load(std::memory_order_acquire);
      if (stop.load(std::memory_order_acquire)) return;
      run_share(thread);
      pending.fetch_sub(1, std::memory_order_acq_rel);
    }
  }

  void publish() {
    {
      const std::lock_guard lock(mutex);
      generation.fetch_add(1, std::memory_order_acq_rel);
    }
    wake.notify_all();
  }
};

ThreadPool::ThreadPool(int threads) : state_(std::make_unique<State>()) {
  const int total = threads > 0 ? threads : usable_cpus();
  for (int i = 1; i < total; ++i) {
    state_->workers.emplace_back([this, i] { state_->worker(i); });
  }
}

ThreadPool::~ThreadPool() {
  state_->stop = true;
  state_->publish();
  for (std::thread& worker : state_->workers) worker.join();
}

int ThreadPool::size() const { return static_cast<int>(state_->workers.size()) + 1; }

void ThreadPool::parallel_for(
    int64_t count, int64_t grain,
    const std::function<void(int64_t begin, int64_t end, int thread)>& body) {
  if (count <= 0) return;
  const int64_t shares =
      std::clamp<int64_t>(count / std::max<int64_t>(1, grain), 1, static_cast<int64_t>(size()));
  if (shares == 1) {
    body(0, count, 0);
    return;
  }
  State& state = *state_;
  state.count = count;
  state.shares = shares;
  state.body = &body;
  state.error = nullptr;
  state.pending.store(static_cast<int>(state.workers.size()), std::memory_order_release);
  state.publish();
  state.run_share(0);
  for (int spins = 0; state.pending.load(std::memory_order_acquire) > 0; ++spins) {
    if (spins < kSpins) {
      pause();
    } else {
      std::this_thread::yield();
    }
  }
  if (state.error) std::rethrow_exception(state.error);
}

}  // namespace dak
