// Mode prefetch's streams and events, without a GPU: a stand-in for the CUDA runtime notes what
// must run before what. Every product must find its own weight in its buffer, and nothing may be
// copied over a weight that is still being read, whichever passes and recorded steps come after
// one another.
#include <cuda_runtime_api.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <memory>
#include <random>
#include <set>
#include <vector>

#include "kernels/cuda_check.h"
#include "ops/cuda/prefetch.h"

namespace {

// A copy into a buffer or a product that reads it.
struct Work {
  bool is_copy;
  const void* buffer;
  const void* weight;
  std::set<size_t> after;  // every work that has ended before this begins
};

using WorkSet = std::set<size_t>;

struct Stream {
  WorkSet done;  // what has ended when the stream gets to its end
  bool capturing = false;
};

struct Event {
  WorkSet done;
  bool captured = false;
};

struct Runtime {
  std::vector<Work> all;
  std::vector<Work> graph;  // of the capture
  std::map<const Stream*, WorkSet> outside;
  bool capturing = false;

  void enqueue(Stream& stream, bool is_copy, const void* buffer, const void* weight) {
    std::vector<Work>& list = stream.capturing ? graph : all;
    list.push_back({is_copy, buffer, weight, stream.done});
    stream.done.insert(list.size() - 1);
  }
};

Runtime runtime;

Stream& of(cudaStream_t stream) { return *reinterpret_cast<Stream*>(stream); }
Event& of(cudaEvent_t event) { return *reinterpret_cast<Event*>(event); }

}  // namespace

cudaError_t cudaStreamCreateWithFlags(cudaStream_t* stream, unsigned) {
  *stream = reinterpret_cast<cudaStream_t>(new Stream);
  return cudaSuccess;
}
cudaError_t cudaStreamDestroy(cudaStream_t stream) {
  delete &of(stream);
  return cudaSuccess;
}
cudaError_t cudaStreamSynchronize(cudaStream_t) { return cudaSuccess; }
cudaError_t cudaEventCreateWithFlags(cudaEvent_t* event, unsigned) {
  *event = reinterpret_cast<cudaEvent_t>(new Event);
  return cudaSuccess;
}
cudaError_t cudaEventDestroy(cudaEvent_t event) {
  delete &of(event);
  return cudaSuccess;
}
cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream) {
  of(event) = {of(stream).done, of(stream).capturing};
  return cudaSuccess;
}
cudaError_t cudaStreamWaitEvent(cudaStream_t stream, cudaEvent_t event, unsigned) {
  Stream& waiting = of(stream);
  if (of(event).captured && runtime.capturing && !waiting.capturing) {  // joins the capture
    runtime.outside[&waiting] = waiting.done;
    waiting = {.done = {}, .capturing = true};
  }
  // A real runtime refuses an event of a capture outside it, and the other way round.
  EXPECT_EQ(of(event).captured, waiting.capturing);
  waiting.done.insert(of(event).done.begin(), of(event).done.end());
  return cudaSuccess;
}
cudaError_t cudaMemcpyAsync(void* to, const void* from, size_t, cudaMemcpyKind,
                            cudaStream_t stream) {
  runtime.enqueue(of(stream), true, to, from);
  return cudaSuccess;
}

namespace dak {

void cuda_check(cudaError_t status, CallSite) { EXPECT_EQ(status, cudaSuccess); }

namespace {

constexpr int64_t kBufferBytes = 1 << 20;

class PrefetchOrder {
 public:
  explicit PrefetchOrder(size_t weights) : memory_(3 * kBufferBytes), host_(weights + 1) {
    runtime = {};
    for (size_t i = 0; i < weights; ++i) {
      host_[i].resize(8192);
      weights_.push_back({.name = std::to_string(i),
                          .dtype = DType::kBF16,
                          .rows = 128,
                          .cols = 64,
                          .blocks = {{.data = &local_, .tier = 0}, {host_[i].data(), 1}}});
    }
    std::vector<PrefetchStage> cycle;
    for (size_t i = 0; i < weights; ++i) cycle.push_back({&weights_[i], i % 2});
    if (weights > 1 && weights % 2 == 1) cycle.back().buffer = 2;
    std::vector<std::byte*> buffers;
    for (int64_t i = 0; i < 3; ++i) buffers.push_back(memory_.data() + i * kBufferBytes);
    prefetcher_ =
        std::make_unique<Prefetcher>(cycle, buffers, reinterpret_cast<cudaStream_t>(&compute_));
  }

  // A forward pass that begins with weight `first`; without the last when `cut`.
  void pass(size_t first, bool cut = false) {
    for (size_t i = 0; i < weights_.size() - (cut ? 1 : 0); ++i) {
      const TieredTensor& weight = weights_[(first + i) % weights_.size()];
      prefetcher_->acquire(weight);
      runtime.enqueue(compute_, false, prefetcher_->staged(weight).blocks[1].data,
                      weight.blocks[1].data);
      prefetcher_->release(weight);
    }
  }

  void record(size_t first) {
    runtime.graph.clear();
    prefetcher_->prepare_recording();
    const WorkSet before = compute_.done;
    compute_ = {.done = {}, .capturing = true};
    runtime.capturing = true;
    prefetcher_->begin_recording();
    pass(first);
    prefetcher_->end_recording();
    prefetcher_->finish_recording();
    // All that was forked has been joined, or the capture would fail.
    EXPECT_EQ(compute_.done.size(), runtime.graph.size());
    // A weight is copied once a step.
    EXPECT_EQ(std::ranges::count_if(runtime.graph, &Work::is_copy), std::ssize(weights_));
    recorded_ = runtime.graph;
    compute_ = {.done = before, .capturing = false};
    for (auto& [stream, done] : runtime.outside) {
      *const_cast<Stream*>(stream) = {.done = done, .capturing = false};
    }
    runtime.outside.clear();
    runtime.capturing = false;
  }

  void launch() {
    prefetcher_->prepare_launch();
    const size_t base = runtime.all.size();
    const WorkSet before = compute_.done;
    for (Work work : recorded_) {
      WorkSet after = before;
      for (const size_t i : work.after) after.insert(base + i);
      work.after = after;
      runtime.all.push_back(work);
      compute_.done.insert(runtime.all.size() - 1);
    }
  }

  void expect_sound() const {
    const std::vector<Work>& all = runtime.all;
    for (size_t r = 0; r < all.size(); ++r) {
      if (all[r].is_copy) continue;
      size_t latest = all.size();
      for (size_t c = 0; c < all.size(); ++c) {
        if (!all[c].is_copy || all[c].buffer != all[r].buffer) continue;
        if (!all[r].after.contains(c)) {
          ASSERT_TRUE(all[c].after.contains(r)) << "a copy beside a reader";
        } else if (latest == all.size() || all[c].after.contains(latest)) {
          latest = c;
        } else {
          ASSERT_TRUE(all[latest].after.contains(c)) << "two copies side by side";
        }
      }
      ASSERT_LT(latest, all.size()) << "read before it was copied";
      ASSERT_EQ(all[latest].weight, all[r].weight) << "another weight was there";
    }
  }

  int64_t copies() const { return std::ranges::count_if(runtime.all, &Work::is_copy); }
  const std::vector<Work>& recorded() const { return recorded_; }

 private:
  Stream compute_;
  std::byte local_{};
  std::vector<std::byte> memory_;
  std::vector<std::vector<std::byte>> host_;
  std::vector<TieredTensor> weights_;
  std::vector<Work> recorded_;
  std::unique_ptr<Prefetcher> prefetcher_;
};

TEST(PrefetchOrder, AnySequenceOfPassesAndStepsIsSound) {
  std::mt19937 random(1);
  for (int round = 0; round < 300; ++round) {
    const auto weights = std::uniform_int_distribution<size_t>(1, 9)(random);
    const auto first = std::uniform_int_distribution<size_t>(0, weights - 1)(random);
    PrefetchOrder order(weights);
    bool recorded = false;
    for (int i = 0; i < 8; ++i) {
      switch (std::uniform_int_distribution(0, recorded ? 4 : 2)(random)) {
        case 0:
          order.pass(first);
          break;
        case 1:
          order.pass(first, /*cut=*/true);
          break;
        case 2:
          order.pass(first);  // as record_decode_graph does
          order.record(first);
          recorded = true;
          break;
        default:
          order.launch();
      }
    }
    order.expect_sound();
    if (testing::Test::HasFatalFailure()) FAIL() << weights << " weights from " << first;
  }
}

TEST(PrefetchOrder, StepsCopyEachWeightOnceAndTheFirstOnesAhead) {
  for (size_t weights = 1; weights < 10; ++weights) {
    PrefetchOrder order(weights);
    order.pass(0);
    order.record(0);
    order.launch();
    const int64_t before = order.copies();
    for (int step = 0; step < 5; ++step) order.launch();
    EXPECT_EQ(order.copies() - before, 5 * static_cast<int64_t>(weights));
    order.expect_sound();
    if (weights < 2) continue;
    // The second weight's copy is the first of the step and waits for nothing in it.
    const auto copy = std::ranges::find_if(order.recorded(), &Work::is_copy);
    EXPECT_TRUE(copy->after.empty());
  }
}

TEST(PrefetchOrder, PassesInOrderCopyEachWeightOnce) {
  for (size_t weights = 1; weights < 10; ++weights) {
    PrefetchOrder order(weights);
    order.pass(0);
    const int64_t before = order.copies();
    for (int i = 0; i < 5; ++i) order.pass(0);
    EXPECT_EQ(order.copies() - before, 5 * static_cast<int64_t>(weights));
  }
}

}  // namespace
}  // namespace dak
