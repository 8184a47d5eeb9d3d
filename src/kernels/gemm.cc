#include "kernels/gemm.h"

#include <algorithm>
#include <string>

#include "base/error.h"
#include "base/math.h"
#include "kernels/cuda_check.h"
#include "kernels/product_args.h"
#include "kernels/sm90_gemm.h"
#include "kernels/tensor_map.h"

namespace dak {
namespace {

// A tile of 128 tokens against one of 256; measured: 0.55 to 0.65 on shapes with many rounds.
constexpr double kNarrowTileCost = 0.6;
// A split matmul's reader has up to 190 KiB in flight, but PCIe needs no more than 64 KiB of each.
constexpr int kReadersEach = 8;
// Enough thread blocks to keep a link busy with 8 KiB each, where there are few tiles.
constexpr int kLeastReaders = 64;

template <typename T>
DeviceBuffer upload(std::vector<T>& values) {
  DeviceBuffer buffer(static_cast<int64_t>(values.size() * sizeof(T)));
  cuda_check(
      cudaMemcpy(buffer.as(), values.data(), values.size() * sizeof(T), cudaMemcpyHostToDevice));
  values = {};
  return buffer;
}

void check(const GemmWeight& weight, const GemmArgs& args) {
  const auto refuse = [](const char* field, int64_t value, const char* problem) {
    throw_invalid("gemm", field, std::to_string(value), problem);
  };
  if (args.tokens < 1) refuse("tokens", args.tokens, "must be positive");
  check_product_args("gemm", weight, args);
  const GemmForm& form = args.form;
  const auto power_of_two = [](int n) { return n > 0 && (n & (n - 1)) == 0; };
  if (form.token_tile != 0 && form.token_tile != 128 && form.token_tile != 256) {
    refuse("token_tile", form.token_tile, "must be 128 or 256");
  }
  if (form.weight_ranks < 1 || form.weight_ranks > 2) {
    refuse("weight_ranks", form.weight_ranks, "must be 1 or 2");
  }
  if (!power_of_two(form.token_ranks) || form.weight_ranks * form.token_ranks > 16) {
    refuse("token_ranks", form.token_ranks, "must be a power of two, at most 16 in a cluster");
  }
}

void check_workspace(const GemmWeight& weight, const GemmWorkspace& workspace,
                     const GemmWorkspace::Half& half) {
  require(workspace.counter_bytes() >= weight.counter_bytes() &&
              half.ring_bytes >= kGemmLeastSlots * weight.block_bytes(),
          "gemm without a reserved workspace");
}

}  // namespace

GemmWeight::GemmWeight(const TieredTensor& weight)
    : rows_(weight.rows),
      cols_(weight.cols),
      block_bytes_(weight.block_bytes()),
      dtype_(weight.dtype),
      groups_(0),
      schedule_(make_gemm_schedule(weight)) {
  groups_ = static_cast<int>(schedule_.blocks.size()) / kGroupBlocks;
  fetch_list_ = schedule_.fetches;
  blocks_ = upload(schedule_.blocks);
  fetches_ = upload(schedule_.fetches);
}

int64_t GemmWeight::counter_bytes() const {
  if (schedule_.remote_blocks == 0) return 0;
  return static_cast<int64_t>(sizeof(GemmCounters)) +
         4 * static_cast<int64_t>(schedule_.remote_blocks) * (schedule_.segments + 1);
}

GemmFeed GemmWeight::feed(const GemmWorkspace::Half& half) const {
  GemmFeed feed{.blocks = blocks(),
                .fetches = fetches(),
                .counters = half.counters,
                .ring = schedule_.remote_blocks > 0 ? half.ring : nullptr,
                .block_bytes = block_bytes_,
                .slots = static_cast<int32_t>(half.ring_bytes / block_bytes_),
                .chunks = schedule_.chunks,
                .segments = schedule_.segments,
                .remote_blocks = schedule_.remote_blocks,
                .tiers = 0,
                .tier = {},
                .fetch_begin = {},
                .fetch_end = {},
                .early_end = {}};
  for (int tier = 1; tier < kMaxTiers; ++tier) {
    const auto t = static_cast<size_t>(tier);
    const int begin = schedule_.fetch_begin[t];
    const int end = schedule_.fetch_end[t];
    if (begin == end) continue;
    const auto all = std::span(fetch_list_)
                         .subspan(static_cast<size_t>(begin), static_cast<size_t>(end - begin));
    feed.tier[feed.tiers] = tier;
    feed.fetch_begin[feed.tiers] = begin;
    feed.fetch_end[feed.tiers] = end;
    feed.early_end[feed.tiers++] = begin + early_fetches(all, feed.slots);
  }
  return feed;
}

bool GemmWorkspace::reserve(const GemmWeight& weight, int64_t ring_bytes) {
  if (weight.counter_bytes() == 0) return false;
  constexpr int64_t kAlignment = 1024;
  bool moved = false;
  const int64_t ring = std::max(ring_bytes, kGemmLeastSlots * weight.block_bytes());
  if (2 * ring > rings_.size_bytes()) {
    rings_ = DeviceBuffer();  // freed first: never both sizes at once
    rings_ = DeviceBuffer(2 * ring);
    moved = true;
  }
  const int64_t counters = round_up(weight.counter_bytes(), kAlignment);
  if (2 * counters > counters_.size_bytes()) {
    counters_ = DeviceBuffer(2 * counters);
    cuda_check(cudaMemset(counters_.as(), 0, static_cast<size_t>(2 * counters)));
    moved = true;
  }
  return moved;
}

GemmWorkspace::Half GemmWorkspace::half(unsigned launch) const {
  const int64_t half = launch % 2;
  return {.ring = rings_.as() + half * (rings_.size_bytes() / 2),
          .ring_bytes = rings_.size_bytes() / 2,
          .counters = reinterpret_cast<GemmCounters*>(counters_.as() + half * counter_bytes())};
}

int gemm_readers_for(const ReaderCounts& readers) {
  int most = 0;
  for (size_t tier = 1; tier < readers.size(); ++tier) most = std::max(most, readers[tier]);
  return kReadersEach * most;
}

int64_t whole_tiles_of(int64_t tiles, int clusters) {
  const int64_t last_round = tiles % clusters;
  return 2 * last_round <= clusters ? tiles - last_round : tiles;
}

int choose_token_tile(int64_t groups, int64_t tokens, int clusters) {
  if (tokens <= 128) return 128;  // the other half of a tile would be empty
  const int64_t wide = groups * ceil_div(tokens, 256);
  const int64_t narrow = groups * ceil_div(tokens, 128);
  const int64_t whole = whole_tiles_of(wide, clusters);
  const double wide_cost =
      static_cast<double>(ceil_div(whole, clusters)) + (whole < wide ? kNarrowTileCost : 0);
  const double narrow_cost = kNarrowTileCost * static_cast<double>(ceil_div(narrow, clusters));
  return narrow_cost < wide_cost ? 128 : 256;
}

void gemm(const GemmWeight& weight, const GemmArgs& args, const GemmWorkspace& workspace,
          const LinkController& links, cudaStream_t stream) {
  check(weight, args);
  const GemmForm& form = args.form;
  const GemmSchedule& schedule = weight.schedule();
  const int size = form.weight_ranks * form.token_ranks;
  const int64_t groups = weight.groups() * (kGroupBlocks / 2) / form.weight_ranks;
  const int tile = form.token_tile != 0
                       ? form.token_tile
                       : choose_token_tile(weight.groups(), args.tokens,
                                           gemm_clusters(weight.dtype(), 256, kGroupBlocks / 2));
  const int most = gemm_clusters(weight.dtype(), tile, size);
  if (most < 1) {
    throw_unsupported("gemm", "cluster", std::to_string(size), "is more than this GPU runs",
                      "use a smaller one");
  }
  const int64_t token_groups = ceil_div(args.tokens, int64_t{tile} * form.token_ranks);
  const int64_t per_group = 2 * form.weight_ranks;
  const int64_t tiles = groups * token_groups;
  // Straight from where they lie, each half would read its remote row blocks again.
  const bool shares = form.ring || schedule.remote_blocks == 0;
  const auto x_map = [&](int tokens) {
    return encode_tensor_map({.data = args.x,
                              .dtype = weight.dtype(),
                              .rows = args.tokens,
                              .cols = weight.cols(),
                              .row_stride = args.x_stride,
                              .box_rows = tokens / form.weight_ranks,
                              .box_cols = 64});
  };
  GemmParams params{
      .x_map = x_map(tile),
      .x_half_map = x_map(tile / 2),
      .feed = weight.feed({}),
      .ahead = args.ahead,
      .links = links.device_states(),
      .groups = static_cast<int32_t>(groups),
      .order = order_groups(static_cast<int>(groups),
                            static_cast<int>(ceil_div(schedule.remote_blocks, per_group)),
                            static_cast<int>(ceil_div(most, token_groups)), form.order),
      .weight_ranks = form.weight_ranks,
      .token_ranks = form.token_ranks,
      .token_groups = static_cast<int32_t>(token_groups),
      .whole_tiles = static_cast<int32_t>(
          tile == 256 && form.halves && shares ? whole_tiles_of(tiles, most) : tiles),
      .readers = form.readers > 0 ? form.readers : INT32_MAX,
      .epilogue = {.out = args.out,
                   .residual = args.residual,
                   .bias = args.bias,
                   .out_stride = args.out_stride,
                   .rows = static_cast<int32_t>(weight.rows()),
                   .batch = static_cast<int32_t>(args.tokens),
                   .out_dtype = element_of(args.out_dtype, "gemm"),
                   .activation = args.activation,
                   .gated = args.gated}};
  int64_t clusters = 2 * tiles - params.whole_tiles;
  if (form.ring && schedule.remote_blocks > 0) {
    const GemmWorkspace::Half half = workspace.next_half();
    check_workspace(weight, workspace, half);
    params.feed = weight.feed(half);
    clusters = std::max<int64_t>(clusters, kLeastReaders / size);
  }
  launch_sm90_gemm(params, weight.dtype(), tile,
                   static_cast<int>(std::min<int64_t>(clusters, most)), args.overlap_previous,
                   stream);
}

}  // namespace dak
