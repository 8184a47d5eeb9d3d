#include "base/thread_pool.h"

#include <sched.h>

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <cstdio>
#include <exception>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "base/cgroup.h"

namespace dak {
namespace {

constexpr int kMostThreads = 4096;
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
  return std::max(1, std::min(affinity, cgroup_cpus().value_or(affinity)));
}

// A loop is cut into shares, which threads claim one at a time: a worker that the system has not
// scheduled delays no loop: the caller takes its share. The ticket says which loop is running, how
// many shares it has and which is next; a claim is one compare-and-swap on it, so that a worker
// that wakes late can never take a share of another loop than the one it saw.
struct ThreadPool::State {
  struct Ticket {
    uint64_t loop;    // 32 bits, wraps
    uint64_t shares;  // 16 bits
    uint64_t next;    // 16 bits

    uint64_t packed() const { return loop << 32 | shares << 16 | next; }
    static Ticket unpack(uint64_t bits) {
      return {.loop = bits >> 32, .shares = bits >> 16 & 0xffff, .next = bits & 0xffff};
    }
  };

  std::vector<std::thread> workers;
  std::atomic<uint64_t> ticket{0};
  std::atomic<int64_t> done_shares{0};
  std::atomic<int> sleepers{0};
  std::mutex mutex;
  std::condition_variable wake;
  bool stop = false;  // written before the last ticket
  // The loop in flight; read only by threads that have claimed a share of it.
  int64_t count = 0;
  const std::function<void(int64_t, int64_t, int)>* body = nullptr;
  std::mutex error_mutex;
  std::exception_ptr error;

  void run_shares_of(uint64_t loop) {
    uint64_t bits = ticket.load(std::memory_order_acquire);
    while (true) {
      const Ticket seen = Ticket::unpack(bits);
      if (seen.loop != loop || seen.next >= seen.shares) return;
      const uint64_t claimed = Ticket{seen.loop, seen.shares, seen.next + 1}.packed();
      if (!ticket.compare_exchange_weak(bits, claimed, std::memory_order_acq_rel)) continue;
      run_share(static_cast<int64_t>(seen.next), static_cast<int64_t>(seen.shares));
      done_shares.fetch_add(1, std::memory_order_acq_rel);
      bits = ticket.load(std::memory_order_acquire);
    }
  }

  void run_share(int64_t share, int64_t shares) {
    const int64_t begin = count * share / shares;
    const int64_t end = count * (share + 1) / shares;
    try {
      if (begin < end) (*body)(begin, end, static_cast<int>(share));
    } catch (...) {
      const std::lock_guard lock(error_mutex);
      if (!error) error = std::current_exception();
    }
  }

  uint64_t current_loop() const { return Ticket::unpack(ticket.load()).loop; }

  void worker() {
    uint64_t seen = 0;
    while (true) {
      for (int i = 0; i < kSpins && current_loop() == seen; ++i) pause();
      if (current_loop() == seen) {
        std::unique_lock lock(mutex);
        sleepers.fetch_add(1);  // before the last look at the ticket, see publish()
        wake.wait(lock, [&] { return current_loop() != seen; });
        sleepers.fetch_sub(1);
      }
      seen = current_loop();
      if (stop) return;
      run_shares_of(seen);
    }
  }

  // Returns the loop's number. Either a worker sees the new ticket before it sleeps, or we see that
  // it sleeps.
  uint64_t publish(int64_t shares) {
    const uint64_t loop = (current_loop() + 1) & 0xffffffff;
    ticket.store(Ticket{loop, static_cast<uint64_t>(shares), 0}.packed());
    if (sleepers.load() > 0) {
      { const std::lock_guard lock(mutex); }
      wake.notify_all();
    }
    return loop;
  }
};

ThreadPool::ThreadPool(int threads) : state_(std::make_unique<State>()) {
  const int total = std::min(threads > 0 ? threads : usable_cpus(), kMostThreads);
  for (int i = 1; i < total; ++i) {
    state_->workers.emplace_back([this] { state_->worker(); });
  }
}

ThreadPool::~ThreadPool() {
  state_->stop = true;
  state_->publish(0);
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
  state.body = &body;
  state.error = nullptr;
  state.done_shares.store(0, std::memory_order_release);
  state.run_shares_of(state.publish(shares));
  for (int spins = 0; state.done_shares.load(std::memory_order_acquire) < shares; ++spins) {
    if (spins < kSpins) {
      pause();
    } else {
      std::this_thread::yield();
    }
  }
  if (state.error) std::rethrow_exception(state.error);
}

}  // namespace dak
