#include "kernels/split_matmul.h"

#include <algorithm>
#include <string>

#include "base/error.h"
#include "kernels/cuda_check.h"
#include "kernels/plain_split_matmul.h"
#include "kernels/product_args.h"
#include "kernels/sm90_split_matmul.h"
#include "kernels/tensor_map.h"

namespace dak {
namespace {

constexpr int64_t kTileRows = 64;  // times the batch tile

int batch_tile_of(int64_t batch) {
  return batch <= 8 ? 8 : batch <= 16 ? 16 : batch <= 32 ? 32 : 64;
}

SplitWeight::Deal make_deal(const TieredTensor& weight, int batch_tile, int sm_count,
                            const ReaderCounts& readers) {
  SplitWeight::Deal deal{make_split_schedule(weight, batch_tile, sm_count, readers), {}};
  std::vector<WorkItem>& items = deal.schedule.items;
  deal.items = DeviceBuffer(static_cast<int64_t>(items.size() * sizeof(WorkItem)));
  cuda_check(cudaMemcpy(deal.items.as(), items.data(), items.size() * sizeof(WorkItem),
                        cudaMemcpyHostToDevice));
  items = {};
  return deal;
}

void check(const SplitWeight& weight, const SplitMatmulArgs& args,
           const SplitWorkspace& workspace) {
  if (args.batch < 1 || args.batch > kMaxSplitBatch) {
    throw_invalid("split_matmul", "batch", std::to_string(args.batch), "must be 1..64");
  }
  check_product_args("split_matmul", weight, args);
  require(workspace.arrivals() != nullptr, "split_matmul without a reserved workspace");
}

SplitEpilogue epilogue_of(const SplitWeight& weight, const SplitMatmulArgs& args) {
  return {.out = args.out,
          .residual = args.residual,
          .bias = args.bias,
          .out_stride = args.out_stride,
          .rows = static_cast<int32_t>(weight.rows()),
          .batch = static_cast<int32_t>(args.batch),
          .out_dtype = element_of(args.out_dtype, "split matmul"),
          .activation = args.activation,
          .gated = args.gated};
}

void multiply_plain(const SplitWeight& weight, const SplitMatmulArgs& args,
                    const SplitWorkspace& workspace, const LinkController& links,
                    cudaStream_t stream) {
  const SplitWeight::Deal& deal = weight.deal_for(args.batch);
  const PlainSplitMatmulParams params{.x = static_cast<const std::byte*>(args.x),
                                      .x_stride = args.x_stride,
                                      .items = deal.items.as<WorkItem>(),
                                      .links = links.device_states(),
                                      .partials = workspace.partials(),
                                      .arrivals = workspace.arrivals(),
                                      .cols = static_cast<int32_t>(weight.cols()),
                                      .chunks = deal.schedule.chunks,
                                      .slice_chunks = deal.schedule.slice_chunks,
                                      .epilogue = epilogue_of(weight, args)};
  launch_plain_split_matmul(params, weight.dtype(), batch_tile_of(args.batch),
                            deal.schedule.thread_blocks, args.overlap_previous, stream);
}

}  // namespace

SplitWeight::SplitWeight(const TieredTensor& weight, int sm_count, const ReaderCounts& readers,
                         KernelKind kernels)
    : rows_(weight.rows),
      cols_(weight.cols),
      dtype_(weight.dtype),
      kernels_(kernels),
      deals_{make_deal(weight, 16, sm_count, readers), make_deal(weight, 32, sm_count, readers),
             make_deal(weight, 64, sm_count, readers)} {
  require(kernels != KernelKind::kAuto, "a split weight without a kind of kernels");
}

int64_t SplitWeight::partial_bytes(int64_t batch) const {
  int64_t bytes = 0;
  for (const int64_t tile : {8, 16, 32, 64}) {
    bytes = std::max(bytes, deal_for(tile).schedule.slot_count * kTileRows * tile * 4);
    if (tile >= batch) break;
  }
  return bytes;
}

bool SplitWorkspace::reserve(const SplitWeight& weight, int64_t batch) {
  bool moved = false;
  const int64_t partial_bytes = std::max<int64_t>(weight.partial_bytes(batch), 16);
  if (partial_bytes > partials_.size_bytes()) {
    partials_ = DeviceBuffer(partial_bytes);
    moved = true;
  }
  const int64_t arrival_bytes = row_blocks_of(weight.rows()) * 4;
  if (arrival_bytes > arrivals_.size_bytes()) {
    arrivals_ = DeviceBuffer(arrival_bytes);
    cuda_check(cudaMemset(arrivals_.as(), 0, static_cast<size_t>(arrival_bytes)));
    moved = true;
  }
  return moved;
}

void split_matmul(const SplitWeight& weight, const SplitMatmulArgs& args,
                  const SplitWorkspace& workspace, const LinkController& links,
                  cudaStream_t stream) {
  check(weight, args, workspace);
  if (weight.kernels() == KernelKind::kPlain) {
    return multiply_plain(weight, args, workspace, links, stream);
  }
  const SplitWeight::Deal& deal = weight.deal_for(args.batch);
  const int tile = batch_tile_of(args.batch);
  SplitMatmulParams params{.x_map = encode_tensor_map({.data = args.x,
                                                       .dtype = weight.dtype(),
                                                       .rows = args.batch,
                                                       .cols = weight.cols(),
                                                       .row_stride = args.x_stride,
                                                       .box_rows = tile,
                                                       .box_cols = 64}),
                           .items = deal.items.as<WorkItem>(),
                           .links = links.device_states(),
                           .partials = workspace.partials(),
                           .arrivals = workspace.arrivals(),
                           .chunks = deal.schedule.chunks,
                           .slice_chunks = deal.schedule.slice_chunks,
                           .reader_begin = {},
                           .reader_end = {},
                           .epilogue = epilogue_of(weight, args)};
  for (size_t tier = 0; tier < kMaxTiers; ++tier) {
    params.reader_begin[tier] = deal.schedule.reader_begin[tier];
    params.reader_end[tier] = deal.schedule.reader_end[tier];
  }
  launch_sm90_split_matmul(params, weight.dtype(), tile, deal.schedule.thread_blocks,
                           args.overlap_previous, stream);
}

}  // namespace dak
