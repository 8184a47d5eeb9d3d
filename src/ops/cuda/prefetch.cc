#include "ops/cuda/prefetch.h"

#include "base/error.h"
#include "kernels/cuda_check.h"

namespace dak {

Prefetcher::Prefetcher(std::span<const PrefetchStage> cycle, std::span<std::byte* const> buffers,
                       cudaStream_t compute)
    : compute_(compute), buffers_(buffers.size()) {
  for (size_t i = 0; i < buffers.size(); ++i) buffers_[i].data = buffers[i];
  for (const PrefetchStage& from : cycle) {
    require(from.buffer < buffers_.size(), "a prefetch stage without a buffer");
    Stage stage{.staged = *from.weight, .buffer = from.buffer, .runs = {}};
    int64_t offset = 0;
    for (RowBlock& block : stage.staged.blocks) {
      if (block.tier == 0) continue;
      const int64_t bytes = stage.staged.block_bytes();
      if (!stage.runs.empty() &&
          stage.runs.back().from + stage.runs.back().size_bytes == block.data) {
        stage.runs.back().size_bytes += bytes;
      } else {
        stage.runs.push_back({.from = block.data, .offset = offset, .size_bytes = bytes});
      }
      block = {.data = buffers_[from.buffer].data + offset, .tier = 0};
      offset += bytes;
    }
    require(offset > 0, "a prefetch stage with nothing remote");
    stage_of_[from.weight->blocks.data()] = cycle_.size();
    cycle_.push_back(std::move(stage));
  }
  cuda_check(cudaStreamCreateWithFlags(&copies_, cudaStreamNonBlocking));
  for (cudaEvent_t* event : {&fork_, &join_}) {
    cuda_check(cudaEventCreateWithFlags(event, cudaEventDisableTiming));
  }
  for (Buffer& buffer : buffers_) {
    cuda_check(cudaEventCreateWithFlags(&buffer.copied, cudaEventDisableTiming));
  }
}

Prefetcher::~Prefetcher() {
  if (copies_ != nullptr) {
    cudaStreamSynchronize(copies_);
    cudaStreamDestroy(copies_);
  }
  for (cudaEvent_t event : {fork_, join_}) {
    if (event != nullptr) cudaEventDestroy(event);
  }
  for (const Buffer& buffer : buffers_) {
    if (buffer.copied != nullptr) cudaEventDestroy(buffer.copied);
  }
}

const TieredTensor& Prefetcher::staged(const TieredTensor& weight) const {
  const auto found = stage_of_.find(weight.blocks.data());
  return found == stage_of_.end() ? weight : cycle_[found->second].staged;
}

bool Prefetcher::acquire(const TieredTensor& weight) {
  const auto found = stage_of_.find(weight.blocks.data());
  if (found == stage_of_.end()) return false;
  const size_t stage = found->second;
  if (recording_ && !first_) {
    // Whoever launches the step sees to it that this one is staged. The other buffers are free and
    // their copies may begin with the step.
    first_ = stage;
    buffer_of(stage).holds = stage;
    next_copy_ = after(stage);
    copy_ahead(/*after_compute=*/false);
  } else if (buffer_of(stage).holds != stage) {
    restart(stage);
  } else {
    copy_ahead(/*after_compute=*/true);
  }
  Buffer& buffer = buffer_of(stage);
  if (!buffer.pending) return false;
  cuda_check(cudaStreamWaitEvent(compute_, buffer.copied));
  buffer.pending = false;
  return true;
}

void Prefetcher::release(const TieredTensor& weight) {
  const auto found = stage_of_.find(weight.blocks.data());
  if (found == stage_of_.end()) return;
  buffer_of(found->second).holds.reset();
  copy_ahead(/*after_compute=*/true);
}

// A recorded step copies no further than its first weight: a graph ends when its last copy does,
// and the next graph can go on with the second weight at once.
bool Prefetcher::recorded_all() const { return recording_ && first_again_; }

void Prefetcher::free_all() {
  for (Buffer& buffer : buffers_) {
    buffer.holds.reset();
    buffer.pending = false;
  }
}

void Prefetcher::copy(size_t stage) {
  Buffer& buffer = buffer_of(stage);
  for (const Run& run : cycle_[stage].runs) {
    cuda_check(cudaMemcpyAsync(buffer.data + run.offset, run.from,
                               static_cast<size_t>(run.size_bytes), cudaMemcpyDefault, copies_));
  }
  cuda_check(cudaEventRecord(buffer.copied, copies_));
  buffer.holds = stage;
  buffer.pending = true;
}

// Copies in order, as far as there are free buffers. What is free was last read by work that the
// compute stream already has, so with `after_compute` the copies wait for that.
void Prefetcher::copy_ahead(bool after_compute) {
  bool forked = !after_compute;
  while (!recorded_all() && !buffer_of(next_copy_).holds) {
    if (!forked) copies_wait_for_compute();
    forked = true;
    copy(next_copy_);
    first_again_ = recording_ && next_copy_ == first_;
    next_copy_ = after(next_copy_);
  }
}

// The pass did not go on as the cycle does (a chunk of a prompt needs no logits), so what is staged
// is of no use now. Copies that are still under way into the same buffers are earlier on the same
// stream.
void Prefetcher::restart(size_t stage) {
  free_all();
  first_again_ = false;
  next_copy_ = stage;
  copy_ahead(/*after_compute=*/true);
}

// No copy is under way when the compute stream comes here.
void Prefetcher::settle() {
  bool pending = false;
  for (const Buffer& buffer : buffers_) pending |= buffer.pending;
  if (!pending) return;
  compute_waits_for_copies();
  for (Buffer& buffer : buffers_) buffer.pending = false;
}

void Prefetcher::copies_wait_for_compute() {
  cuda_check(cudaEventRecord(fork_, compute_));
  cuda_check(cudaStreamWaitEvent(copies_, fork_));
}

void Prefetcher::compute_waits_for_copies() {
  cuda_check(cudaEventRecord(join_, copies_));
  cuda_check(cudaStreamWaitEvent(compute_, join_));
}

void Prefetcher::prepare_recording() {
  settle();
  before_recording_ = buffers_;
  next_before_recording_ = next_copy_;
}

void Prefetcher::begin_recording() {
  free_all();
  first_.reset();
  first_again_ = false;
  recording_ = true;
  copies_wait_for_compute();  // from the root of the graph
}

void Prefetcher::end_recording() {
  if (first_ && buffer_of(*first_).holds != first_) {
    first_again_ = false;
    free_all();
    next_copy_ = *first_;
    copies_wait_for_compute();
    copy(*first_);
  }
  compute_waits_for_copies();
}

void Prefetcher::finish_recording() {
  recording_ = false;
  buffers_ = before_recording_;
  next_copy_ = next_before_recording_;
}

void Prefetcher::prepare_launch() {
  if (!first_) return;
  settle();  // the step copies into every buffer
  const bool ready = buffer_of(*first_).holds == first_;
  free_all();
  if (!ready) {
    copies_wait_for_compute();
    copy(*first_);
    settle();
  }
  // This holds before a step and after it.
  buffer_of(*first_).holds = first_;
  next_copy_ = after(*first_);
}

}  // namespace dak
