#include "plan/cost.h"

#include <algorithm>
#include <limits>

#include "base/error.h"
#include "base/math.h"
#include "kernels/split_schedule.h"

namespace dak {
namespace {

constexpr double kMicro = 1e-6;
constexpr double kFlopsPerWeight = 2;
constexpr double kFlopsPerScore = 4;       // of a query value and a token: q . k, and p v
constexpr double kNormBytesPerValue = 12;  // residual in and out and normed out, in f32 and 16 bits

int64_t rows_of(const Operation& op, const PassShape& pass) {
  return op.for_logits ? pass.logit_rows : pass.rows;
}

double seconds_per_byte(const Tier& tier) {
  return tier.read_bytes_per_s > 0 ? 1 / tier.read_bytes_per_s : 0;
}

const MatmulCost& matmul_cost(const KernelCosts& kernels, int64_t rows) {
  for (const MatmulCost& cost : kernels.matmul) {
    if (rows <= cost.rows) return cost;
  }
  return kernels.matmul.back();
}

// How often each byte of a matmul's weight is read, and what that loses: slices of `columns` rows
// and one of those that remain.
struct Readings {
  double count = 0;
  double local = 0;  // count, each divided by the share of the bandwidth that it reaches
  double local_fixed_s = 0;
  double link_fixed_s = 0;
};

Readings readings_of(const KernelCosts& kernels, int64_t rows, int64_t columns) {
  Readings readings;
  const auto add = [&](int64_t slice_rows, int64_t slices) {
    if (slice_rows == 0 || slices == 0) return;
    const auto times = static_cast<double>(slices);
    const MatmulCost& cost = matmul_cost(kernels, slice_rows);
    readings.count += times;
    readings.local += times / cost.local_share;
    readings.local_fixed_s += times * cost.local_fixed_us * kMicro;
    readings.link_fixed_s += times * cost.link_fixed_us * kMicro;
  };
  add(columns, rows / columns);
  add(rows % columns, 1);
  return readings;
}

// How an operation reads its bytes.
struct Reads {
  double local =
      0;  // how often, each reading divided by the share of the bandwidth that it reaches
  double remote = 0;  // how often
  double reader_share = 1;
  double link_bytes_per_s = 0;  // 0: no limit
};

double share_lost(const Machine& machine, size_t tier, double reader_share) {
  if (!machine.sm_count) return machine.local_loss[tier];
  return std::max(machine.local_loss[tier],
                  reader_share * machine.readers[tier] / static_cast<double>(*machine.sm_count));
}

// One line for each channel.
std::vector<CostLine> memory_lines(const Machine& machine, const Reads& reads) {
  std::vector<CostLine> lines;
  for (size_t t = 0; t < machine.tiers.size(); ++t) {
    const Tier& tier = machine.tiers[t];
    auto line = std::ranges::find_if(lines, [&](const CostLine& other) {
      return machine.tiers[other.tier].channel == tier.channel;
    });
    if (line == lines.end()) {
      lines.push_back({.limit = Limit::kMemory, .tier = static_cast<TierIndex>(t)});
      line = lines.end() - 1;
    }
    if (line->tier == 0) {
      line->per_byte[t] += seconds_per_byte(tier) * reads.local;
      continue;
    }
    const double limit = reads.link_bytes_per_s > 0 ? 1 / reads.link_bytes_per_s : 0;
    line->per_byte[t] += std::max(seconds_per_byte(tier), limit) * reads.remote;
    // The local tier is slower while a link is busy.
    lines[0].per_byte[t] +=
        seconds_per_byte(tier) * reads.remote * share_lost(machine, t, reads.reader_share);
  }
  return lines;
}

double all_local_s(const CostLine& local, int64_t size_bytes) {
  return local.fixed_s + local.per_byte[0] * static_cast<double>(size_bytes);
}

void add_compute(std::vector<CostLine>& lines, double flops, const Machine& machine,
                 double peak_share, double fixed_s) {
  if (machine.peak_flops_per_s <= 0) return;  // not known
  lines.push_back({.fixed_s = flops / (machine.peak_flops_per_s * peak_share) + fixed_s,
                   .limit = Limit::kCompute});
}

// max(link, arithmetic) becomes max + loss x min: as lines, each of both with that share of the
// other.
void add_overlap_loss(std::vector<CostLine>& lines, double loss) {
  const auto compute = std::ranges::find(lines, Limit::kCompute, &CostLine::limit);
  if (compute == lines.end() || loss <= 0) return;
  const double compute_s = compute->fixed_s;
  for (CostLine& line : lines) {
    if (line.limit != Limit::kMemory || line.tier == 0) continue;
    compute->fixed_s += loss * line.fixed_s;
    for (size_t t = 0; t < kMaxTiers; ++t) compute->per_byte[t] += loss * line.per_byte[t];
    line.fixed_s += loss * compute_s;
  }
}

OperationCost matmul_time(const Operation& op, const PassShape& pass, const Machine& machine) {
  const int64_t rows = rows_of(op, pass);
  const KernelCosts& kernels = machine.kernels;
  const Readings local = readings_of(kernels, rows, kernels.local_columns_per_reading);
  const Readings remote = readings_of(kernels, rows, kernels.remote_columns_per_reading);
  const MatmulCost& last = matmul_cost(kernels, rows);
  OperationCost cost{.lines = memory_lines(machine, {.local = local.local,
                                                     .remote = remote.count,
                                                     .reader_share = last.reader_share,
                                                     .link_bytes_per_s = last.link_bytes_per_s})};
  cost.lines[0].fixed_s = local.local_fixed_s;
  // A link's start shows as far as the operation would otherwise be over before it.
  const double whole = all_local_s(cost.lines[0], op.size_bytes);
  for (size_t i = 1; i < cost.lines.size(); ++i) {
    cost.lines[i].fixed_s = std::min(remote.link_fixed_s, whole);
  }
  add_compute(cost.lines, flops_of(op, pass), machine, kernels.peak_share, local.local_fixed_s);
  add_overlap_loss(cost.lines, last.overlap_loss);
  return cost;
}

// Tokens that attention reads, over all sequences.
struct KvReadings {
  double once = 0;    // each of them counted once
  double again = 0;   // as often as a group of query rows goes over it
  double scores = 0;  // pairs of a query row and a token
};

bool has_attention_tiles(const KernelCosts& kernels, const PassShape& pass) {
  return kernels.attention_tile_rows > 0 &&
         pass.rows >= pass.sequences * kernels.attention_tile_rows;
}

KvReadings kv_readings(const Operation& op, const PassShape& pass, const KernelCosts& kernels) {
  const int64_t rows_per_reading =
      has_attention_tiles(kernels, pass) ? pass.rows : kernels.attention_rows_per_reading;
  const auto rows = static_cast<double>(pass.rows) / static_cast<double>(pass.sequences);
  const auto past = static_cast<double>(pass.past);
  const double back =
      op.window > 0 ? static_cast<double>(op.window) : std::numeric_limits<double>::infinity();
  const auto groups = static_cast<double>(ceil_div(pass.rows, pass.sequences * rows_per_reading));
  const auto sequences = static_cast<double>(pass.sequences);
  const double seen = std::min(past + (rows + 1) / 2, back);  // by a row, on average
  return {.once = sequences * std::min(past + rows, back + rows - 1),
          .again = sequences * groups * seen,
          .scores = sequences * rows * seen};
}

// A reader takes its time for each run of remote tokens, however short: so many sequences of few
// remote tokens each do not fill a fast link.
void add_runs(std::vector<CostLine>& lines, const Operation& op, const PassShape& pass,
              const Machine& machine) {
  if (has_attention_tiles(machine.kernels, pass)) return;
  for (size_t t = 1; t < machine.tiers.size(); ++t) {
    if (op.remote_bytes[t] == 0 || machine.readers[t] == 0) continue;
    const double runs = static_cast<double>(pass.sequences * op.kv_heads) / machine.readers[t];
    lines.push_back({.fixed_s = runs * machine.kernels.attention_run_us * kMicro,
                     .limit = Limit::kMemory,
                     .tier = static_cast<TierIndex>(t)});
  }
}

OperationCost attention_time(const Operation& op, const PassShape& pass, const Machine& machine) {
  const KernelCosts& kernels = machine.kernels;
  const KvReadings readings = kv_readings(op, pass, kernels);
  const auto size = static_cast<double>(std::max<int64_t>(1, op.size_bytes));
  const double token = static_cast<double>(op.kv_token_bytes) / size;  // as a share of the cache
  const double crossings = std::max(readings.once, readings.again);
  const double share = pass.sequences > kManySequences ? kernels.attention_many_local_share
                                                       : kernels.attention_local_share;
  OperationCost cost{.lines = memory_lines(machine, {.local = readings.once * token / share,
                                                     .remote = crossings * token}),
                     .fixed_s = kernels.attention_fixed_us * kMicro};
  add_runs(cost.lines, op, pass, machine);
  if (kernels.l2_bytes_per_s > 0 && readings.again > readings.once) {
    cost.lines.push_back({.fixed_s = readings.again * static_cast<double>(op.kv_token_bytes) /
                                     kernels.l2_bytes_per_s,
                          .limit = Limit::kCache});
  }
  add_compute(
      cost.lines, flops_of(op, pass), machine,
      has_attention_tiles(kernels, pass) ? kernels.attention_peak_share : kernels.peak_share, 0);
  return cost;
}

double lookup_share(const Operation& op, const PassShape& pass) {
  return std::min(1.0, static_cast<double>(pass.rows) / static_cast<double>(op.rows));
}

}  // namespace

Machine machine_of(const HardwareProfile& profile, std::vector<Tier> tiers, DType weight_dtype) {
  // Not known: taken for an H100.
  const bool has_tma = profile.compute_capability.empty() || profile.compute_capability == "9.0";
  Machine machine{.tiers = std::move(tiers),
                  .local_loss = {},
                  .readers = {},
                  .sm_count = profile.sm_count,
                  .peak_flops_per_s = profile.peak_of(weight_dtype),
                  .kernels = profile.device == "cpu"
                                 ? cpu_kernel_costs(profile.cpu_costs, profile.launch_overhead_us)
                                 : cuda_kernel_costs(has_tma)};
  for (size_t t = 0; t < machine.tiers.size(); ++t) {
    const Tier& tier = machine.tiers[t];
    double loss = 0;
    for (const TierProfile& known : profile.tiers) {
      if (t == 0 || known.name != tier.name || !known.local_under_load_bytes_per_s) continue;
      loss = 1 - *known.local_under_load_bytes_per_s / profile.tiers[0].read_bytes_per_s;
    }
    machine.local_loss.push_back(std::max(0.0, loss));
    const bool has_readers = t > 0 && profile.device == "cuda";
    machine.readers.push_back(has_readers ? readers_for(tier.read_bytes_per_s) : 0);
  }
  return machine;
}

OperationCost cost_of(const Operation& op, const PassShape& pass, const Machine& machine) {
  const int64_t rows = rows_of(op, pass);
  if (rows == 0) return {};
  switch (op.kind) {
    case OperationKind::kMatmul:
      return matmul_time(op, pass, machine);
    case OperationKind::kLookup: {
      const double share = lookup_share(op, pass);
      return {.lines = memory_lines(machine, {.local = share, .remote = share})};
    }
    case OperationKind::kAttention:
      return attention_time(op, pass, machine);
    case OperationKind::kNorms: {
      const double bytes = kNormBytesPerValue * static_cast<double>(rows * op.cols);
      return {.lines = {},
              .fixed_s =
                  static_cast<double>(op.norms) *
                  (machine.kernels.norm_us * kMicro + bytes * seconds_per_byte(machine.tiers[0]))};
    }
    case OperationKind::kPass:
      return {.lines = {}, .fixed_s = machine.kernels.pass_us * kMicro};
  }
  require(false, "an operation of no kind");
  return {};
}

double flops_of(const Operation& op, const PassShape& pass) {
  const int64_t rows = rows_of(op, pass);
  if (rows > 0 && op.kind == OperationKind::kMatmul) {
    return kFlopsPerWeight * static_cast<double>(rows * op.rows * op.cols);
  }
  if (rows > 0 && op.kind == OperationKind::kAttention) {
    return kFlopsPerScore * kv_readings(op, pass, KernelCosts{}).scores *
           static_cast<double>(op.query_values);
  }
  return 0;
}

OperationTime time_of(const OperationCost& cost, const TierBytes& bytes) {
  OperationTime time;
  for (const CostLine& line : cost.lines) {
    double seconds = line.fixed_s;
    for (size_t t = 0; t < bytes.size(); ++t) {
      seconds += line.per_byte[t] * static_cast<double>(bytes[t]);
    }
    if (seconds <= time.seconds) continue;
    const bool mostly_fixed =
        line.limit == Limit::kMemory && line.fixed_s + cost.fixed_s > seconds - line.fixed_s;
    time = {.seconds = seconds,
            .limit = mostly_fixed ? Limit::kOverhead : line.limit,
            .tier = line.tier};
  }
  time.seconds += cost.fixed_s;
  return time;
}

std::array<double, kMaxTiers> bytes_read(const Operation& op, const PassShape& pass,
                                         const Machine& machine, const TierBytes& bytes) {
  std::array<double, kMaxTiers> read{};
  const int64_t rows = rows_of(op, pass);
  if (rows == 0) return read;
  double local = 0;
  double remote = 0;
  const KernelCosts& kernels = machine.kernels;
  if (op.kind == OperationKind::kMatmul) {
    local = static_cast<double>(ceil_div(rows, kernels.local_columns_per_reading));
    remote = static_cast<double>(ceil_div(rows, kernels.remote_columns_per_reading));
  } else if (op.kind == OperationKind::kLookup) {
    local = remote = lookup_share(op, pass);
  } else if (op.kind == OperationKind::kAttention) {
    const KvReadings readings = kv_readings(op, pass, kernels);
    const double token = static_cast<double>(op.kv_token_bytes) /
                         static_cast<double>(std::max<int64_t>(1, op.size_bytes));
    local = readings.once * token;
    remote = std::max(readings.once, readings.again) * token;
  }
  for (size_t t = 0; t < bytes.size(); ++t) {
    read[t] = static_cast<double>(bytes[t]) * (t == 0 ? local : remote);
  }
  return read;
}

std::string limit_name(Limit limit, TierIndex tier, const std::vector<Tier>& tiers) {
  switch (limit) {
    case Limit::kMemory:
      return tiers.at(tier).channel;
    case Limit::kCompute:
      return "compute";
    case Limit::kCache:
      return "cache";
    case Limit::kOverhead:
      return "overhead";
  }
  return "unknown";
}

}  // namespace dak
