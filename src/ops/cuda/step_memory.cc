// What recorded steps keep on the device: their page tables and lists of runs, and room for all
// that they and the passes beside them use, so that none of it moves later.
#include <algorithm>
#include <cstring>

#include "base/error.h"
#include "ops/cuda/kernels.h"
#include "ops/cuda/state.h"
#include "ops/decode_graph.h"

namespace dak {

using cuda::StepTables;

void CudaBackend::reserve_step_tables(const StepTables::Room& room) {
  const bool seen = prefetcher_ != nullptr && prefetcher_->stages_kv();
  if (step_tables_.room().holds(room) && step_tables_.has_seen() == seen) return;
  require(!recording_, "a step's tables grow while a graph is recorded");
  cuda_check(cudaStreamSynchronize(stream_));  // kernels may still read the old ones
  step_pages_ = {};
  step_runs_ = {};
  step_pages_[StepTables::kLie] = DeviceBuffer(room.table_bytes());
  if (seen) step_pages_[StepTables::kSeen] = DeviceBuffer(room.table_bytes());
  step_runs_ = DeviceBuffer(room.run_bytes());
  step_tables_.set_room(room, seen);
  ++generation_;
}

std::byte* const* CudaBackend::step_pages(StepTables::Which which, int64_t layer) const {
  return step_pages_[which].as<std::byte*>() + layer * step_tables_.room().pages;
}

const uint64_t* CudaBackend::step_runs(int64_t layer) const {
  return step_runs_.as<uint64_t>() + layer * step_tables_.room().runs_of_layer();
}

// A row's in all layers at once.
void CudaBackend::send_pages(StepTables::Which which, const StepTables::PageChange& change) {
  const StepTables::Room& room = step_tables_.room();
  const auto first = static_cast<size_t>(change.first);
  const auto count = static_cast<size_t>(change.last - change.first);
  const size_t width = count * sizeof(std::byte*);
  const auto layers = static_cast<size_t>(room.layers);
  std::byte* staged = pinned_for(static_cast<int64_t>(layers * width));
  for (size_t layer = 0; layer < layers; ++layer) {
    const auto pages = step_tables_.pages_of(which, change.row, static_cast<int64_t>(layer));
    std::memcpy(staged + layer * width, pages.data() + first, width);
  }
  std::byte** place =
      step_pages_[which].as<std::byte*>() + change.row * room.row_pages() + change.first;
  cuda_check(cudaMemcpy2DAsync(place, static_cast<size_t>(room.pages) * sizeof(std::byte*), staged,
                               width, width, layers, cudaMemcpyHostToDevice, stream_));
}

void CudaBackend::send_step_tables() {
  for (const StepTables::Which which : {StepTables::kLie, StepTables::kSeen}) {
    for (const StepTables::PageChange& change : step_tables_.take_changes(which)) {
      send_pages(which, change);
    }
  }
  const StepTables::LayerRange layers = step_tables_.take_run_changes();
  const auto bytes = std::as_bytes(step_tables_.runs_of(layers));
  if (bytes.empty()) return;
  std::byte* staged = pinned_for(std::ssize(bytes));
  std::memcpy(staged, bytes.data(), bytes.size());
  cuda_check(cudaMemcpyAsync(
      step_runs_.as<uint64_t>() + layers.first * step_tables_.room().runs_of_layer(), staged,
      bytes.size(), cudaMemcpyHostToDevice, stream_));
}

void reserve_decode_graphs(OpContext& ctx, const AttentionConfig& config, int64_t sequences,
                           int64_t rows) {
  require(ctx.cuda != nullptr, "a decode graph without a CUDA backend");
  CudaBackend& backend = *ctx.cuda;
  backend.enter();
  for (const auto slot : {CudaBackend::kIds, CudaBackend::kPositions}) {
    backend.reserve_slot(slot, rows * int64_t{sizeof(int32_t)});
  }
  backend.reserve_slot(CudaBackend::kKvRows, rows * int64_t{sizeof(cuda::KvRow)});
  backend.reserve_slot(CudaBackend::kRows, sequences * int64_t{sizeof(int32_t)});
  backend.reserve_slot(CudaBackend::kDraws, sequences * int64_t{sizeof(DrawParams)});
  backend.step_state(sequences);
  backend.reserve_step_tables(
      {.rows = sequences, .layers = config.layers, .pages = config.table_pages});
  if (backend.kernels() == KernelKind::kPlain ||
      !cuda::on_tensor_cores(element_of(config.kv_dtype, "attention"), config.head_size)) {
    return;
  }
  const int64_t cut_rows = cuda::most_cut_rows(sequences, rows, config.table_pages);
  if (cuda::takes_ring(config.heads, config.kv_heads)) {
    const cuda::RingPieces need = cuda::ring_pieces(config.heads, config.kv_heads, config.head_size,
                                                    cut_rows, config.table_pages);
    backend.pieces(need.value_bytes(), need.counters());
    return;
  }
  const cuda::AttentionPieces need = cuda::attention_pieces(
      config.heads, config.kv_heads, config.head_size, cut_rows, config.table_pages);
  backend.pieces(need.value_bytes, need.counters);
}

}  // namespace dak
