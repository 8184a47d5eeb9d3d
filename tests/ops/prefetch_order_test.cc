// Mode prefetch's streams and events, without a GPU: a stand-in for the CUDA runtime notes what
// must run before what. Every product must find its own weight in its buffer, and nothing may be
// copied over a weight that is still being read, whichever passes and recorded steps come after
// one another. The same for the KV pages of layers, which differ from pass to pass.
#include <cuda_runtime_api.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <functional>
#include <map>
#include <memory>
#include <random>
#include <set>
#include <vector>

#include "kernels/cuda_check.h"
#include "ops/cuda/prefetch.h"

namespace {

// A copy into a buffer or an operation that reads it.
struct Work {
  bool is_copy;
  const std::byte* buffer;
  const std::byte* source;  // of the copy; what the operation wants to find
  size_t size;
  std::set<size_t> after;  // every work that has ended before this begins
  bool off = false;        // a copy that was switched off

  bool overlaps(const Work& other) const {
    return buffer < other.buffer + other.size && other.buffer < buffer + size;
  }
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

  void enqueue(Stream& stream, bool is_copy, const void* buffer, const void* source, size_t size) {
    std::vector<Work>& list = stream.capturing ? graph : all;
    list.push_back({is_copy, static_cast<const std::byte*>(buffer),
                    static_cast<const std::byte*>(source), size, stream.done});
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
cudaError_t cudaMemcpyAsync(void* to, const void* from, size_t size, cudaMemcpyKind,
                            cudaStream_t stream) {
  runtime.enqueue(of(stream), true, to, from, size);
  return cudaSuccess;
}
// A node is the number of the work in the graph, and one more.
cudaError_t cudaStreamGetCaptureInfo(cudaStream_t stream, cudaStreamCaptureStatus* status,
                                     unsigned long long*, cudaGraph_t*,
                                     const cudaGraphNode_t** nodes, const cudaGraphEdgeData**,
                                     size_t* count) {
  static cudaGraphNode_t last;
  EXPECT_TRUE(of(stream).capturing);
  last = reinterpret_cast<cudaGraphNode_t>(runtime.graph.size());
  *status = cudaStreamCaptureStatusActive;
  *nodes = &last;
  *count = 1;
  return cudaSuccess;
}
cudaError_t cudaGraphExecMemcpyNodeSetParams1D(cudaGraphExec_t graph, cudaGraphNode_t node,
                                               void* to, const void* from, size_t size,
                                               cudaMemcpyKind) {
  Work& work = reinterpret_cast<std::vector<Work>*>(graph)->at(reinterpret_cast<size_t>(node) - 1);
  EXPECT_TRUE(work.is_copy);
  work.buffer = static_cast<const std::byte*>(to);
  work.source = static_cast<const std::byte*>(from);
  work.size = size;
  return cudaSuccess;
}

namespace dak {

void cuda_check(cudaError_t status, CallSite) { EXPECT_EQ(status, cudaSuccess); }

namespace {

constexpr int64_t kBufferBytes = 1 << 20;
constexpr int64_t kPageBytes = 64 << 10;  // a layer has as many as fit a buffer

class PrefetchOrder {
 public:
  // After every second weight come the pages of a layer, `layers` of them.
  explicit PrefetchOrder(size_t weights, size_t layers = 0)
      : memory_(5 * kBufferBytes), host_(weights + 1), pools_(layers) {
    runtime = {};
    for (size_t i = 0; i < weights; ++i) {
      host_[i].resize(8192);
      weights_.push_back({.name = std::to_string(i),
                          .dtype = DType::kBF16,
                          .rows = 128,
                          .cols = 64,
                          .blocks = {{.data = &local_, .tier = 0}, {host_[i].data(), 1}}});
    }
    for (std::vector<std::byte>& pool : pools_) pool.resize(kBufferBytes);
    size_t layer = 0;
    const auto add_layer = [&] {
      cycle_.push_back({.buffer = 3 + layer % 2,
                        .kv_layer = static_cast<int64_t>(layer),
                        .kv_pool = pools_[layer]});
      ++layer;
    };
    for (size_t i = 0; i < weights; ++i) {
      cycle_.push_back({.weight = &weights_[i], .buffer = i % 2});
      if (weights > 1 && weights % 2 == 1 && i + 1 == weights) cycle_.back().buffer = 2;
      if (i % 2 == 0 && layer < layers) add_layer();
    }
    while (layer < layers) add_layer();
    std::vector<std::byte*> buffers;
    for (int64_t i = 0; i < 5; ++i) buffers.push_back(memory_.data() + i * kBufferBytes);
    prefetcher_ =
        std::make_unique<Prefetcher>(cycle_, buffers, reinterpret_cast<cudaStream_t>(&compute_));
  }

  // Other pages for all layers, some of them none.
  void grow(std::mt19937& random) {
    for (size_t layer = 0; layer < pools_.size(); ++layer) {
      std::vector<CopyRange> pages;
      const auto one_in = std::uniform_int_distribution<unsigned>(1, 5)(random);
      for (int64_t at = 0; at < kBufferBytes; at += kPageBytes) {
        if (random() % one_in == 0 && one_in < 5) pages.push_back({at, at + kPageBytes});
      }
      ranges_[layer] = joined(std::move(pages));
    }
  }

  // A forward pass that begins with stage `first`; without the last when `cut`.
  void pass(size_t first, bool cut = false) {
    for (size_t layer = 0; layer < pools_.size(); ++layer) {
      prefetcher_->announce_kv(static_cast<int64_t>(layer), ranges_[layer]);
    }
    for (size_t i = 0; i < cycle_.size() - (cut ? 1 : 0); ++i) {
      const PrefetchStage& stage = cycle_[(first + i) % cycle_.size()];
      if (stage.weight == nullptr) {
        attend(stage);
        continue;
      }
      const TieredTensor& weight = *stage.weight;
      prefetcher_->acquire(weight);
      runtime.enqueue(compute_, false, prefetcher_->staged(weight).blocks[1].data,
                      weight.blocks[1].data, 8192);
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
    kv_copies_ = prefetcher_->finish_recording();
    // All that was forked has been joined, or the capture would fail.
    EXPECT_EQ(compute_.done.size(), runtime.graph.size());
    // A weight is copied once a step, and a layer's pages are.
    EXPECT_EQ(kv_copies_.size(), pools_.size());
    recorded_ = runtime.graph;
    for (const RecordedKvCopies& copies : kv_copies_) {
      for (size_t i = 0; i < copies.nodes.size(); ++i) {
        work_of(copies.nodes[i]).off = copies.ranges[i] == CopyRange();
      }
    }
    EXPECT_EQ(std::ranges::count_if(recorded_, is_weight_copy()), std::ssize(weights_));
    compute_ = {.done = before, .capturing = false};
    for (auto& [stream, done] : runtime.outside) {
      *const_cast<Stream*>(stream) = {.done = done, .capturing = false};
    }
    runtime.outside.clear();
    runtime.capturing = false;
  }

  // With the pages as they are now, as a recorded step is told of them.
  void launch() {
    for (RecordedKvCopies& copies : kv_copies_) give_ranges(copies);
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
    for (const RecordedKvCopies& copies : kv_copies_) {
      for (const CopyRange& range : ranges_[static_cast<size_t>(copies.layer)]) {
        read_pages(cycle_of(copies.layer), range, base);
      }
    }
  }

  void expect_sound() const {
    const std::vector<Work>& all = runtime.all;
    for (size_t r = 0; r < all.size(); ++r) {
      if (all[r].is_copy || all[r].size == 0) continue;
      size_t latest = all.size();
      for (size_t c = 0; c < all.size(); ++c) {
        if (!all[c].is_copy || all[c].off || !all[c].overlaps(all[r])) continue;
        if (!all[r].after.contains(c)) {
          ASSERT_TRUE(all[c].after.contains(r)) << "a copy beside a reader";
        } else if (latest == all.size() || all[c].after.contains(latest)) {
          latest = c;
        } else {
          ASSERT_TRUE(all[latest].after.contains(c)) << "two copies side by side";
        }
      }
      ASSERT_LT(latest, all.size()) << "read before it was copied";
      ASSERT_EQ(all[latest].source - all[latest].buffer, all[r].source - all[r].buffer)
          << "something else was there";
    }
  }

  // Of weights and pages; a spare copy is off or of a byte.
  int64_t copied_bytes() const {
    int64_t bytes = 0;
    for (const Work& work : runtime.all) {
      if (work.is_copy && !work.off) bytes += static_cast<int64_t>(work.size);
    }
    return bytes;
  }
  // That a pass reads now.
  int64_t page_bytes() const {
    int64_t bytes = 0;
    for (const auto& [layer, ranges] : ranges_) {
      for (const CopyRange& range : ranges) bytes += range.end - range.begin;
    }
    return bytes;
  }
  int64_t copies() const { return std::ranges::count_if(runtime.all, &Work::is_copy); }
  const std::vector<Work>& recorded() const { return recorded_; }
  size_t stages() const { return cycle_.size(); }

 private:
  std::function<bool(const Work&)> is_weight_copy() const {
    return [this](const Work& work) {
      return work.is_copy && work.buffer < memory_.data() + 3 * kBufferBytes;
    };
  }
  const PrefetchStage& cycle_of(int64_t layer) const {
    return *std::ranges::find_if(cycle_, [layer](const PrefetchStage& stage) {
      return stage.weight == nullptr && stage.kv_layer == layer;
    });
  }
  Work& work_of(cudaGraphNode_t node) { return recorded_.at(reinterpret_cast<size_t>(node) - 1); }

  // Attention: in a recorded step it reads whatever pages the launch is told of.
  void attend(const PrefetchStage& stage) {
    prefetcher_->acquire_kv(stage.kv_layer);
    if (compute_.capturing) {
      attention_[stage.kv_layer] = runtime.graph.size();
      runtime.enqueue(compute_, false, nullptr, nullptr, 0);
    } else {
      for (const CopyRange& range : ranges_[static_cast<size_t>(stage.kv_layer)]) {
        enqueue_pages(stage, range);
      }
    }
    prefetcher_->release_kv(stage.kv_layer);
  }

  // Page by page, for a page is copied whole.
  void enqueue_pages(const PrefetchStage& stage, const CopyRange& range) {
    for (int64_t at = range.begin; at < range.end; at += kPageBytes) {
      runtime.enqueue(compute_, false, buffer_of(stage) + at, stage.kv_pool.data() + at,
                      static_cast<size_t>(kPageBytes));
    }
  }

  // The pages that the attention of the step launched at `base` reads.
  void read_pages(const PrefetchStage& stage, const CopyRange& range, size_t base) {
    const size_t at_attention = base + attention_.at(stage.kv_layer);
    for (int64_t at = range.begin; at < range.end; at += kPageBytes) {
      Work read = runtime.all[at_attention];
      read.buffer = buffer_of(stage) + at;
      read.source = stage.kv_pool.data() + at;
      read.size = static_cast<size_t>(kPageBytes);
      const size_t index = runtime.all.size();
      runtime.all.push_back(read);
      for (Work& later : runtime.all) {
        if (later.after.contains(at_attention)) later.after.insert(index);
      }
      compute_.done.insert(index);
    }
  }

  void give_ranges(RecordedKvCopies& copies) {
    const std::vector<CopyRange> wanted =
        at_most(ranges_[static_cast<size_t>(copies.layer)], copies.nodes.size());
    for (size_t i = 0; i < copies.nodes.size(); ++i) {
      copies.ranges[i] = i < wanted.size() ? wanted[i] : CopyRange();
      work_of(copies.nodes[i]).off = copies.ranges[i] == CopyRange();
      if (i >= wanted.size()) continue;
      prefetcher_->set_range(reinterpret_cast<cudaGraphExec_t>(&recorded_), copies, i, wanted[i]);
    }
  }

  const std::byte* buffer_of(const PrefetchStage& stage) const {
    return memory_.data() + static_cast<int64_t>(stage.buffer) * kBufferBytes;
  }

  Stream compute_;
  std::byte local_{};
  std::vector<std::byte> memory_;
  std::vector<std::vector<std::byte>> host_;
  std::vector<std::vector<std::byte>> pools_;
  std::vector<TieredTensor> weights_;
  std::vector<PrefetchStage> cycle_;
  std::map<size_t, std::vector<CopyRange>> ranges_;  // by layer
  std::map<int64_t, size_t> attention_;              // by layer, in the recording
  std::vector<Work> recorded_;
  std::vector<RecordedKvCopies> kv_copies_;
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

TEST(PrefetchOrder, AnySequenceOfPassesAndStepsWithPagesIsSound) {
  std::mt19937 random(2);
  for (int round = 0; round < 60; ++round) {
    const auto weights = std::uniform_int_distribution<size_t>(0, 5)(random);
    const auto layers = std::uniform_int_distribution<size_t>(1, 4)(random);
    PrefetchOrder order(weights, layers);
    // Of a pass without its last stage the last must be a weight, as the lm_head is.
    const bool may_cut = weights > 0 && layers <= weights / 2;
    bool recorded = false;
    for (int i = 0; i < 7; ++i) {
      order.grow(random);
      switch (std::uniform_int_distribution(0, recorded ? 4 : 2)(random)) {
        case 0:
          order.pass(0);
          break;
        case 1:
          order.pass(0, may_cut);
          break;
        case 2:
          order.pass(0);
          order.record(0);
          recorded = true;
          break;
        default:
          order.launch();
      }
    }
    order.expect_sound();
    if (testing::Test::HasFatalFailure()) FAIL() << weights << " weights, " << layers << " layers";
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

TEST(PrefetchOrder, PassesAndStepsCopyEachPageOnce) {
  std::mt19937 random(3);
  for (size_t layers = 1; layers < 5; ++layers) {
    PrefetchOrder order(2 * layers + 1, layers);
    order.grow(random);
    order.pass(0);
    order.record(0);
    for (int i = 0; i < 6; ++i) {
      order.grow(random);
      const auto weights = static_cast<int64_t>(order.stages() - layers);
      // A pass after a step begins with what that has left, and leaves as much to the next.
      int64_t before = order.copied_bytes();
      order.pass(0);
      EXPECT_EQ(order.copied_bytes() - before, weights * 8192 + order.page_bytes());
      order.pass(0);
      before = order.copied_bytes();
      order.launch();
      EXPECT_LE(order.copied_bytes() - before, (weights + 1) * 8192 + order.page_bytes());
    }
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
