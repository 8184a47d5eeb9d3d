#include "engine/backend_memory.h"

#include <algorithm>

#include "base/math.h"
#include "engine/step_rows.h"
#include "kernels/gemm_schedule.h"
#include "kernels/split_schedule.h"
#include "ops/attention.h"
#include "ops/cuda/kv_layout.h"
#include "ops/cuda/kv_staging.h"
#include "ops/cuda/prefill_plan.h"
#include "ops/cuda/step_tables.h"

namespace dak {
namespace {

constexpr int64_t kMostSms = 192;  // no GPU up to compute capability 12.0 has more
// Thread blocks that may cut a row block in two: all that read HBM, and the readers of every tier.
constexpr int64_t kMostCuts = kMostSms + int64_t{kMostReaders} * (kMaxTiers - 1);
// Of recorded steps, and of each of their kernels and copies besides. (13 more steps of 32 layers
// took nothing that the driver's counter shows, CUDA 13.)
constexpr int64_t kGraphBytes = int64_t{16} << 20;
constexpr int64_t kNodeBytes = 256;
constexpr int64_t kInputBytes = int64_t{4} << 20;  // ids, positions, rows, step state
constexpr int64_t kAllocation = int64_t{2} << 20;  // the driver's unit
constexpr int64_t kWarmUpAllocations = 16;         // buffers that are rounded up to it

}  // namespace

SplitMemory split_matmul_memory(const std::vector<Operand>& operands) {
  SplitMemory memory;
  int64_t most_blocks = 0;
  for (const Operand& operand : operands) {
    if (operand.use != OperandUse::kMatmul) continue;
    const int64_t blocks = operand.blocks();
    most_blocks = std::max(most_blocks, blocks);
    for (const int tile : {16, 32, 64}) {
      const int64_t cuts = std::min(blocks, kMostCuts);
      const int64_t slices =
          ceil_div(padded_cols(operand.cols) / kChunkCols, slice_chunks_of(operand.cols, tile));
      // A row block that is cut k times makes k items more.
      memory.schedule_bytes += (blocks + kMostCuts) * static_cast<int64_t>(sizeof(WorkItem)) + 256;
      memory.partial_bytes = std::max(
          memory.partial_bytes, cuts * group_blocks_of(tile) * slices * kRowBlockRows * tile * 4);
    }
  }
  memory.partial_bytes += 4 * most_blocks;  // counters of arrival
  return memory;
}

int64_t gemm_memory_bytes(const std::vector<Operand>& operands, int64_t ring_bytes) {
  int64_t schedules = 0;
  int64_t ring = ring_bytes;
  int64_t counters = 0;
  for (const Operand& operand : operands) {
    if (operand.use != OperandUse::kMatmul) continue;
    const int64_t blocks = operand.blocks() + kGroupBlocks;
    const int64_t segments = ceil_div(padded_cols(operand.cols) / kChunkCols, kSegmentChunks);
    schedules += blocks * (static_cast<int64_t>(sizeof(GemmBlock)) +
                           segments * static_cast<int64_t>(sizeof(GemmFetch))) +
                 512;
    ring = std::max(ring, kGemmLeastSlots * row_block_bytes(operand.cols, DType::kBF16));
    counters = std::max(counters, 4 * blocks * (segments + 1) + 2048);
  }
  return schedules + 2 * (ring + counters);
}

int64_t prefill_attention_bytes(const ModelConfig& config, const BackendNeeds& needs) {
  if (needs.rows < cuda::kPrefillLeastRows || !cuda::has_prefill_tiles(config.head_size)) return 0;
  const int64_t pages = needs.sequences * kv_pages_for(needs.context);
  // One more where a window begins and ends inside of one.
  const int64_t segments = ceil_div(needs.context, cuda::kPrefillSegmentTokens) + 1;
  const bool several = needs.context > cuda::kPrefillSegmentTokens;
  const int64_t states =
      several ? cuda::prefill_states(needs.rows, config.heads / config.kv_heads) : 0;
  const int64_t item_bytes = 2 * kPageTokens * config.head_size * 2;
  const int64_t slots = needs.remote_kv ? cuda::kPrefillRingBytes / item_bytes : 0;
  const int64_t counters = static_cast<int64_t>(sizeof(cuda::PrefillCounters)) +
                           4 * (needs.sequences * segments * config.kv_heads + slots + 2 * states);
  const int64_t table =
      needs.sequences * (static_cast<int64_t>(sizeof(cuda::PrefillSequence)) +
                         kMaxTiers * int64_t{sizeof(cuda::PrefillFetches)} +
                         segments * (int64_t{sizeof(cuda::PrefillSegment)} + kMaxTiers * 4)) +
      pages * 3 * 4 + 7 * 16 + 256;
  return states * cuda::prefill_state_floats(config.head_size) * 4 + slots * item_bytes + counters +
         2 * config.layers * table;
}

namespace {

// Of a step that is recorded: its kernels, at most.
int64_t kernels_of(StepKind kind) {
  switch (kind) {
    case StepKind::kProduct:
      return 2;  // of f32 inputs the narrowing too
    case StepKind::kAttention:
      return 3;
    case StepKind::kLookup:
    case StepKind::kNorm:
    case StepKind::kHeads:
    case StepKind::kGather:
      return 1;
  }
  return 0;
}

// Of a recorded pass of so many rows: kernels, and in mode prefetch copies.
int64_t pass_nodes(const Program& program, int64_t rows, const BackendNeeds& needs) {
  constexpr int64_t kWeightCopies = 2;  // of a product's weight
  constexpr int64_t kOthers = 16;       // before the first layer and after the last
  int64_t nodes = kOthers;
  for (const Step& step : program.steps) {
    if (step.layer < 0) continue;
    nodes += kernels_of(step.kind);
    if (step.kind == StepKind::kProduct && needs.prefetches) nodes += kWeightCopies;
    if (step.kind == StepKind::kAttention && needs.stages_kv) {
      nodes += static_cast<int64_t>(recorded_copies(static_cast<size_t>(rows)));
    }
  }
  return nodes;
}

int64_t graph_bytes(const Program& program, const BackendNeeds& needs) {
  int64_t bytes = kGraphBytes;
  for (const int64_t rows : all_step_rows(needs.sequences)) {
    bytes += pass_nodes(program, rows, needs) * kNodeBytes;
  }
  return bytes;
}

// What attention's runs leave.
int64_t piece_bytes(const ModelConfig& config, int64_t rows, int64_t pages) {
  if (cuda::takes_ring(config.heads, config.kv_heads)) {
    const auto need =
        cuda::ring_pieces(config.heads, config.kv_heads, config.head_size, rows, pages);
    return need.value_bytes() + 4 * need.counters();
  }
  const auto need =
      cuda::attention_pieces(config.heads, config.kv_heads, config.head_size, rows, pages);
  return need.value_bytes + 4 * need.counters;
}

}  // namespace

int64_t cuda_backend_bytes(const ModelConfig& config, const Program& program,
                           const std::vector<Operand>& operands, const BackendNeeds& needs) {
  const SplitMemory split = split_matmul_memory(operands);
  int64_t tables = 0;  // addresses of row blocks that embeddings look up
  const std::vector<bool> looked_up = program.matrices_of(StepKind::kLookup);
  for (size_t i = 0; i < looked_up.size(); ++i) {
    if (looked_up[i]) tables += operands.at(i).blocks() * 8;
  }
  const int64_t pages = kv_pages_for(needs.context);
  // Rows that attention cuts into runs: one of each sequence, or few.
  const int64_t runs = cuda::kv_runs_for(pages);
  const int64_t cut_rows = cuda::most_cut_rows(needs.sequences, needs.rows, pages);
  const int64_t pieces = piece_bytes(config, cut_rows, pages);
  tables += 2 * config.layers *
            ((needs.stages_kv ? 2 : 1) * (needs.sequences * pages * 8 + 256) +
             (kMaxTiers + cut_rows * runs) * 8 + 256);
  const cuda::StepTables::Room steps{
      .rows = needs.sequences, .layers = config.layers, .pages = pages};
  tables += (needs.stages_kv ? 2 : 1) * steps.table_bytes() + steps.run_bytes();
  const int64_t ring = needs.sequences > kMaxSplitBatch ? kGemmAheadRingBytes : kGemmRingBytes;
  const int64_t gemm = needs.rows > kMaxSplitBatch ? gemm_memory_bytes(operands, ring) : 0;
  const int64_t bytes = gemm + prefill_attention_bytes(config, needs) + split.schedule_bytes +
                        split.partial_bytes + tables + pieces + graph_bytes(program, needs) +
                        kInputBytes + kWarmUpAllocations * kAllocation;
  return round_up(bytes, kAllocation);
}

}  // namespace dak
