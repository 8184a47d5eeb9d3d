#include "ops/cuda/step_recorder.h"

#include <algorithm>

#include "base/error.h"
#include "kernels/cuda_check.h"

namespace dak::cuda {

void StepRecorder::start() {
  const auto room = static_cast<size_t>(std::max<int64_t>(1, counted_));
  ops_.reserve(room);
  device_ops_ = DeviceBuffer(static_cast<int64_t>(room * sizeof(StepOp)));
  done_ = DeviceBuffer(static_cast<int64_t>(room * sizeof(uint32_t)));
  cuda_check(cudaMemset(done_.as(), 0, room * sizeof(uint32_t)));
  cuda_check(cudaDeviceSynchronize());
  started_ = true;
}

bool StepRecorder::counting() {
  if (started_) return false;
  ++counted_;
  return true;
}

// 0 and none: not decided yet, in the run or by the operation.
bool StepRecorder::fits_run(DType dtype, int batch_tile) const {
  return (!dtype_ || *dtype_ == dtype) &&
         (batch_tile_ == 0 || batch_tile == 0 || batch_tile_ == batch_tile);
}

void StepRecorder::require_run(DType dtype, int batch_tile) {
  if (!fits_run(dtype, batch_tile)) flush();
  dtype_ = dtype;
  if (batch_tile != 0) batch_tile_ = batch_tile;
}

StepOp& StepRecorder::add(StepKind kind, int participants) {
  require(std::ssize(ops_) < counted_, "a recorded step has more operations than it had before");
  StepOp& op = ops_.emplace_back();
  op.kind = kind;
  op.participants = participants;
  return op;
}

// A thread block reads at most one remote tier during a run.
bool StepRecorder::overlaps_readers(const SplitMatmulParams& params) const {
  for (size_t a = 1; a < kMaxTiers; ++a) {
    for (size_t b = 1; b < kMaxTiers; ++b) {
      if (a == b || params.reader_end[a] == 0 || run_.reader_end[b] == 0) continue;
      if (params.reader_begin[a] < run_.reader_end[b] &&
          run_.reader_begin[b] < params.reader_end[a]) {
        return true;
      }
    }
  }
  return false;
}

bool StepRecorder::matmul(const SplitMatmulLaunch& product) {
  if (product.batch_tile > kMaxStepRows) return false;
  if (counting()) return false;
  if (heads_ || overlaps_readers(product.params)) flush();
  require_run(product.dtype, product.batch_tile);
  StepOp& op = add(StepKind::kMatmul, product.thread_blocks);
  op.x_map = product.params.x_map;
  op.matmul = {.items = product.params.items,
               .partials = product.params.partials,
               .arrivals = product.params.arrivals,
               .chunks = product.params.chunks,
               .slice_chunks = product.params.slice_chunks,
               .epilogue = product.params.epilogue};
  run_.links = product.params.links;
  for (size_t tier = 1; tier < kMaxTiers; ++tier) {
    if (product.params.reader_end[tier] == 0) continue;
    const bool first = run_.reader_end[tier] == 0;
    run_.reader_begin[tier] =
        first ? product.params.reader_begin[tier]
              : std::min(run_.reader_begin[tier], product.params.reader_begin[tier]);
    run_.reader_end[tier] = std::max(run_.reader_end[tier], product.params.reader_end[tier]);
    run_.readers = std::max(run_.readers, run_.reader_end[tier]);
  }
  return true;
}

bool StepRecorder::norm(const NormParams& params) {
  if (params.rows > kMaxStepRows) return false;
  if (counting()) return false;
  if (heads_) flush();
  const int blocks = static_cast<int>(std::min<int64_t>(params.rows, sm_count_));
  add(StepKind::kNorm, blocks).norm = params;
  return true;
}

bool StepRecorder::gather(const GatherRowsParams& params) {
  if (params.m > kMaxStepRows || params.m == 0) return false;
  if (counting()) return false;
  if (heads_) flush();
  const int blocks = static_cast<int>(std::min<int64_t>(params.m, sm_count_));
  add(StepKind::kGather, blocks).gather = params;
  return true;
}

bool StepRecorder::heads(const SplitHeadsParams& params) {
  if (params.kv.m > kMaxStepRows || !step_takes(params.kv.kv_dtype, params.kv.head_size)) {
    return false;
  }
  if (!started_) return false;
  if (heads_) flush();
  heads_ = params;
  return true;
}

bool StepRecorder::attention(const AttentionParams& params) {
  if (params.kv.m > kMaxStepRows || !step_takes(params.kv.kv_dtype, params.kv.head_size)) {
    return false;
  }
  if (counting()) return false;
  if (!heads_ || heads_->q != params.q) return false;
  const SplitHeadsParams heads = *heads_;
  heads_.reset();
  require_run(params.kv.kv_dtype, 0);
  // Its number of thread blocks is known when the run ends.
  add(StepKind::kAttention, 0).attention = {.attention = params, .heads = heads};
  return true;
}

void StepRecorder::flush() {
  if (!started_) return;
  const auto count = ops_.size() - run_begin_;
  if (count > 0) {
    for (size_t i = run_begin_; i < ops_.size(); ++i) {
      if (ops_[i].kind == StepKind::kAttention) ops_[i].participants = sm_count_ - run_.readers;
    }
    run_.ops = device_ops_.as<StepOp>() + run_begin_;
    run_.done = done_.as<uint32_t>() + run_begin_;
    run_.op_count = static_cast<int32_t>(count);
    launch_decode_step(run_, dtype_.value_or(DType::kBF16), batch_tile_ == 0 ? 8 : batch_tile_,
                       sm_count_, stream_);
    ++kernels_;
  }
  run_begin_ = ops_.size();
  run_ = {};
  dtype_.reset();
  batch_tile_ = 0;
  if (heads_) {
    launch_split_heads(*heads_, stream_);
    heads_.reset();
  }
}

void StepRecorder::finish() {
  require(run_begin_ == ops_.size() && !heads_, "a recorded step was not flushed");
  cuda_check(cudaMemcpy(device_ops_.as(), ops_.data(), ops_.size() * sizeof(StepOp),
                        cudaMemcpyHostToDevice));
}

}  // namespace dak::cuda
