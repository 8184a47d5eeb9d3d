#include "ops/cuda/prefetch.h"

#include <algorithm>

#include "base/error.h"
#include "kernels/cuda_check.h"

namespace dak {
namespace {

// The last node that the capturing stream was given.
cudaGraphNode_t last_captured(cudaStream_t stream) {
  cudaStreamCaptureStatus status = cudaStreamCaptureStatusNone;
  const cudaGraphNode_t* nodes = nullptr;
  size_t count = 0;
#if CUDART_VERSION >= 13000
  cuda_check(cudaStreamGetCaptureInfo(stream, &status, nullptr, nullptr, &nodes, nullptr, &count));
#else
  cuda_check(cudaStreamGetCaptureInfo_v2(stream, &status, nullptr, nullptr, &nodes, &count));
#endif
  require(status == cudaStreamCaptureStatusActive && count == 1, "a copy was not captured");
  return nodes[0];
}

}  // namespace

Prefetcher::Prefetcher(std::span<const PrefetchStage> cycle, std::span<std::byte* const> buffers,
                       cudaStream_t compute)
    : compute_(compute), buffers_(buffers.size()) {
  for (size_t i = 0; i < buffers.size(); ++i) buffers_[i].data = buffers[i];
  for (const PrefetchStage& from : cycle) {
    require(from.buffer < buffers_.size(), "a prefetch stage without a buffer");
    if (from.weight != nullptr) {
      add_weight(from);
    } else {
      add_kv(from);
    }
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

void Prefetcher::add_weight(const PrefetchStage& from) {
  Stage stage{.staged = *from.weight, .buffer = from.buffer, .runs = {}, .ranges = {}};
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

void Prefetcher::add_kv(const PrefetchStage& from) {
  require(!from.kv_pool.empty(), "a prefetch stage with nothing remote");
  kv_stage_of_[from.kv_layer] = cycle_.size();
  cycle_.push_back({.staged = {},
                    .buffer = from.buffer,
                    .runs = {},
                    .kv_layer = from.kv_layer,
                    .pool = {.data = from.kv_pool.data(), .size_bytes = std::ssize(from.kv_pool)},
                    .ranges = {}});
}

const TieredTensor& Prefetcher::staged(const TieredTensor& weight) const {
  const auto found = stage_of_.find(weight.blocks.data());
  return found == stage_of_.end() ? weight : cycle_[found->second].staged;
}

std::optional<size_t> Prefetcher::kv_stage(int64_t layer) const {
  const auto found = kv_stage_of_.find(layer);
  if (found == kv_stage_of_.end()) return std::nullopt;
  return found->second;
}

std::optional<StagedKv> Prefetcher::staged(const AttentionConfig& config,
                                           std::span<const KvSequence> sequences) const {
  const std::optional<size_t> at = kv_stage(config.layer);
  if (!at) return std::nullopt;
  const Stage& stage = cycle_[*at];
  return stage_kv(stage.pool, buffers_[stage.buffer].data, config, sequences);
}

// What an abandoned pass has left in the buffer is of no use.
void Prefetcher::announce_kv(int64_t layer, std::vector<CopyRange> ranges, size_t sequences) {
  const std::optional<size_t> at = kv_stage(layer);
  if (!at) return;
  cycle_[*at].announced = true;
  cycle_[*at].ranges = std::move(ranges);
  cycle_[*at].sequences = sequences;
  if (buffer_of(*at).holds == at) buffer_of(*at).holds.reset();
}

bool Prefetcher::acquire(const TieredTensor& weight) {
  const auto found = stage_of_.find(weight.blocks.data());
  return found != stage_of_.end() && acquire_stage(found->second);
}

bool Prefetcher::acquire_kv(int64_t layer) {
  const std::optional<size_t> stage = kv_stage(layer);
  return stage && acquire_stage(*stage);
}

bool Prefetcher::acquire_stage(size_t stage) {
  if (recording_ && !first_) {
    // Whoever launches the step sees to it that a weight is staged. The other buffers are free and
    // their copies may begin with the step.
    first_ = stage;
    to_record_ = cycle_.size();
    next_copy_ = stage;
    if (carries()) {
      buffer_of(stage).holds = stage;
      next_copy_ = after(stage);
    }
    copy_ahead(/*after_compute=*/false);
  } else if (buffer_of(stage).holds != stage) {
    restart(stage);
  } else {
    copy_ahead(/*after_compute=*/true);
  }
  Buffer& buffer = buffer_of(stage);
  require(buffer.holds == stage, "attention in a pass that did not announce its pages");
  if (!buffer.pending) return false;
  cuda_check(cudaStreamWaitEvent(compute_, buffer.copied));
  buffer.pending = false;
  return true;
}

void Prefetcher::release(const TieredTensor& weight) {
  const auto found = stage_of_.find(weight.blocks.data());
  if (found != stage_of_.end()) release_stage(found->second);
}

void Prefetcher::release_kv(int64_t layer) {
  if (const std::optional<size_t> stage = kv_stage(layer)) release_stage(*stage);
}

void Prefetcher::release_stage(size_t stage) {
  cycle_[stage].announced = false;
  buffer_of(stage).holds.reset();
  copy_ahead(/*after_compute=*/true);
}

void Prefetcher::free_all() {
  for (Buffer& buffer : buffers_) {
    buffer.holds.reset();
    buffer.pending = false;
  }
}

void Prefetcher::copy(size_t stage) {
  Buffer& buffer = buffer_of(stage);
  const Stage& from = cycle_[stage];
  buffer.holds = stage;
  if (from.is_kv()) {
    const bool nothing = from.ranges.empty() && !recording_;
    copy_ranges(from, buffer.data);
    if (nothing) return;
  }
  for (const Run& run : from.runs) {
    cuda_check(cudaMemcpyAsync(buffer.data + run.offset, run.from,
                               static_cast<size_t>(run.size_bytes), cudaMemcpyDefault, copies_));
  }
  cuda_check(cudaEventRecord(buffer.copied, copies_));
  buffer.pending = true;
}

void Prefetcher::copy_ranges(const Stage& stage, std::byte* buffer) {
  if (recording_) return record_ranges(stage, buffer);
  for (const CopyRange& range : stage.ranges) {
    cuda_check(cudaMemcpyAsync(buffer + range.begin, stage.pool.data + range.begin,
                               static_cast<size_t>(range.end - range.begin), cudaMemcpyDefault,
                               copies_));
  }
}

// With copies to spare, of a byte: whoever has the graph switches them off.
void Prefetcher::record_ranges(const Stage& stage, std::byte* buffer) {
  RecordedKvCopies recorded{.layer = stage.kv_layer, .nodes = {}, .ranges = stage.ranges};
  recorded.ranges.resize(std::max(recorded_copies(stage.sequences), 2 * stage.ranges.size()));
  for (const CopyRange& range : recorded.ranges) {
    const int64_t bytes = std::max<int64_t>(1, range.end - range.begin);
    cuda_check(cudaMemcpyAsync(buffer + range.begin, stage.pool.data + range.begin,
                               static_cast<size_t>(bytes), cudaMemcpyDefault, copies_));
    recorded.nodes.push_back(last_captured(copies_));
  }
  recorded_kv_.push_back(std::move(recorded));
}

void Prefetcher::set_range(cudaGraphExec_t graph, const RecordedKvCopies& copies, size_t copy,
                           const CopyRange& range) const {
  const std::optional<size_t> at = kv_stage(copies.layer);
  require(at && range.end > range.begin, "a recorded copy of nothing");
  const Stage& stage = cycle_[*at];
  cuda_check(cudaGraphExecMemcpyNodeSetParams1D(
      graph, copies.nodes.at(copy), buffers_[stage.buffer].data + range.begin,
      stage.pool.data + range.begin, static_cast<size_t>(range.end - range.begin),
      cudaMemcpyDefault));
}

// Copies in order, as far as there are free buffers, pages are known and, in a recorded step, every
// stage has been copied once: a graph ends when its last copy does, and the next graph can go on
// with the second weight at once. What is free was last read by work that the compute stream
// already has, so with `after_compute` the copies wait for that.
void Prefetcher::copy_ahead(bool after_compute) {
  bool forked = !after_compute;
  while (!buffer_of(next_copy_).holds) {
    const Stage& stage = cycle_[next_copy_];
    if (stage.is_kv() && !stage.announced) return;
    if (recording_ && to_record_ == 0) return;
    if (!forked) copies_wait_for_compute();
    forked = true;
    copy(next_copy_);
    if (recording_) --to_record_;
    next_copy_ = after(next_copy_);
  }
}

// The pass did not go on as the cycle does (a chunk of a prompt needs no logits), so what is staged
// is of no use now. Copies that are still under way into the same buffers are earlier on the same
// stream.
void Prefetcher::restart(size_t stage) {
  free_all();
  to_record_ = cycle_.size();
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
  recorded_kv_.clear();
  recording_ = true;
  copies_wait_for_compute();  // from the root of the graph
}

void Prefetcher::end_recording() {
  if (carries() && buffer_of(*first_).holds != first_) {
    free_all();
    next_copy_ = *first_;
    copies_wait_for_compute();
    copy(*first_);
  }
  compute_waits_for_copies();
}

std::vector<RecordedKvCopies> Prefetcher::finish_recording() {
  recording_ = false;
  buffers_ = before_recording_;
  next_copy_ = next_before_recording_;
  return std::move(recorded_kv_);
}

void Prefetcher::prepare_launch() {
  if (!first_) return;
  settle();  // the step copies into every buffer
  const bool ready = buffer_of(*first_).holds == first_;
  free_all();
  next_copy_ = *first_;
  if (!carries()) return;
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
