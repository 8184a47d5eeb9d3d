#include <algorithm>
#include <array>

#include "base/choice.h"
#include "base/units.h"
#include "engine/access.h"
#include "engine/backend_memory.h"
#include "engine/engine.h"
#include "engine/model_costs.h"
#include "engine/prefill_chunk.h"
#include "memory/weight_layout.h"
#include "model/declared_model.h"
#include "model/loader.h"
#include "pass/names.h"
#include "plan/planner.h"

namespace dak {

DType kv_cache_dtype(const ModelConfig& config, const EngineOptions& options) {
  if (options.kv_dtype) return *options.kv_dtype;
  return options.dtype.value_or(held_dtype(std::array{config.stored_dtype}));
}

namespace {

// What the CUDA backend cannot run, said before anything is loaded.
void check_for_cuda(const std::vector<Operand>& operands, const EngineOptions& options,
                    const std::vector<Tier>& tiers) {
  for (const Operand& operand : operands) {
    if (operand.use == OperandUse::kMatmul && operand.dtype == DType::kF32) {
      throw_unsupported(operand.name, "dtype", "f32", "the CUDA backend multiplies bf16 and f16",
                        "use --dtype bf16 or --device cpu");
    }
  }
  const int64_t budget = options.local_budget_bytes.value_or(0);
  const int64_t capacity = tiers.at(0).capacity_bytes;
  if (budget > capacity) {
    throw Error(ErrorCode::kResourceExhausted,
                {.where = "--hbm-budget",
                 .field = {},
                 .value = format_bytes(budget),
                 .problem = fmt::format("is more than the {} that the GPU has free, less {} for "
                                        "CUDA itself",
                                        format_bytes(capacity), format_bytes(kCudaMarginBytes)),
                 .fix = "use a smaller budget or free memory of the GPU"});
  }
}

// A flag that the backend or another flag would leave without effect is refused.
void check_access(const EngineOptions& options) {
  const bool cpu = options.device.backend == Backend::kCpu;
  if (!(options.kv_ratio >= 0 && options.kv_ratio <= 1)) {
    throw_invalid("--kv-ratio", {}, fmt::format("{}", options.kv_ratio), "is outside 0 to 1",
                  "0 keeps the whole KV cache local, 1 none of it");
  }
  if (options.kv_ratio > 0 && options.mode == AccessMode::kResident) {
    throw_invalid("--kv-ratio", {}, fmt::format("{}", options.kv_ratio),
                  "contradicts --mode resident, which keeps everything local",
                  "use --mode direct, or --kv-ratio 0");
  }
  if (cpu && (options.mode == AccessMode::kPrefetch || options.mode == AccessMode::kUva)) {
    throw_unsupported("--mode", {}, name(options.mode),
                      "the CPU backend reads every tier where it lies",
                      "use --mode direct, or --device cuda");
  }
  if (!options.window_bytes) return;
  const std::string window = format_bytes(*options.window_bytes);
  if (cpu) {
    throw_unsupported("--window", {}, window, "the CPU backend has no link to a remote tier",
                      "use --device cuda");
  }
  if (options.mode != AccessMode::kDirect) {
    throw_invalid("--window", {}, window,
                  fmt::format("has no effect with --mode {}", name(options.mode)),
                  "use --mode direct");
  }
  if (options.device.kernels == KernelKind::kPlain) {
    throw_unsupported("--window", {}, window, "the plain kernels have no window",
                      "omit it, or use --kernels tma where there are such");
  }
  if (*options.window_bytes < int64_t{kChunkBytes}) {
    throw_invalid("--window", {}, window,
                  fmt::format("is less than one read of {}", format_bytes(int64_t{kChunkBytes})),
                  "or omit it: the window adapts");
  }
}

// Nothing remote: everything fits, or the error says what is missing.
void check_resident(const EngineOptions& options, const std::vector<Operand>& operands,
                    const FixedMemory& fixed, const Tier& local) {
  if (options.offload_ratio.value_or(0) > 0) {
    throw_invalid("--offload-ratio", {}, fmt::format("{}", *options.offload_ratio),
                  "contradicts --mode resident, which keeps every weight local",
                  "use --offload-ratio 0 or --mode direct");
  }
  int64_t need = fixed.total_bytes();
  for (const Operand& operand : operands) need += operand.size_bytes();
  const int64_t capacity = options.local_budget_bytes.value_or(local.capacity_bytes);
  if (need <= capacity) return;
  throw Error(
      ErrorCode::kResourceExhausted,
      {.where = "--mode",
       .field = {},
       .value = "resident",
       .problem = fmt::format("needs {} in tier {}, {} more than its {}", format_bytes(need),
                              local.name, format_bytes(need - capacity), format_bytes(capacity)),
       .fix = fmt::format("use --mode direct, a smaller --context or, where there is so "
                          "much, --local-budget {}B",
                          need)});
}

// cuBLASLt's workspace, and room for the sums of a batch before bias, activation and residual. The
// product of the logits has none of these.
int64_t uva_bytes(const Program& program, int64_t rows) {
  int64_t widest = 0;
  for (const Step& step : program.steps) {
    if (step.kind != StepKind::kProduct || step.for_logits) continue;
    widest = std::max(widest, program.matrix(step.matrix).rows());
  }
  return round_up_to_page(kUvaWorkspaceBytes + bytes_of(DType::kF32, rows * widest));
}

PlacementPolicy policy_of(const EngineOptions& options) {
  const bool direct = options.mode == AccessMode::kDirect || options.mode == AccessMode::kResident;
  if (!options.placement) {
    return direct && !options.offload_ratio ? PlacementPolicy::kGreedy : PlacementPolicy::kUniform;
  }
  if (*options.placement == PlacementPolicy::kGreedy && !direct) {
    throw_invalid("--placement", {}, name(*options.placement),
                  fmt::format("has no effect with --mode {}, which places weights in its own way",
                              name(options.mode)),
                  "use --mode direct");
  }
  return *options.placement;
}

// Each layer's cache as an operand of its own, planned with the weights: a row is a token.
void add_kv_operands(const ModelConfig& config, DType dtype, PlanRequest& request) {
  for (int64_t i = 0; i < config.layers; ++i) {
    request.operands.push_back({.name = name_of_part(i, "kv"),
                                .kind = kind_of_part(i, "kv"),
                                .use = OperandUse::kKv,
                                .rows = kv_pages_for(request.fixed.kv_tokens) * kPageTokens,
                                .cols = 2 * config.kv_rows(),
                                .dtype = dtype,
                                .stored = dtype});
  }
  request.fixed.kv_bytes = 0;
}

void add_costs(const ModelConfig& config, const Program& program, const EngineOptions& options,
               int64_t context, PlanRequest& request) {
  const bool cuda = options.device.backend == Backend::kCuda;
  const HardwareProfile profile =
      options.hardware ? *options.hardware : profile_of_tiers(request.tiers, cuda);
  const Workload workload =
      options.workload.empty() ? default_workload(options.sequences, context) : options.workload;
  const Machine machine = machine_of(profile, request.tiers, request.operands.at(0).dtype);
  request.costs = operand_costs(
      operations_of(program, request.operands, kv_cache_dtype(config, options), request.fixed),
      request.operands.size(), workload, request.fixed.prefill_chunk, machine);
  request.objective = workload_text(workload);
}

void check_remote_kv(const std::vector<Tier>& tiers, const FixedMemory& fixed) {
  for (size_t i = 1; i < fixed.kv_remote_bytes.size(); ++i) {
    if (fixed.kv_remote_bytes[i] == 0) continue;
    if (i >= tiers.size()) {
      throw_invalid("--kv-ratio", {}, {}, "puts pages into remote tiers, and there are none",
                    "use --kv-ratio 0, or name one in --tiers");
    }
    const Tier& tier = tiers[i];
    if (tier.capacity_bytes >= fixed.kv_remote_bytes[i]) continue;
    throw Error(
        ErrorCode::kResourceExhausted,
        {.where = "--kv-ratio",
         .field = {},
         .value = {},
         .problem = fmt::format("puts {} of the KV cache into tier {}, which has {}",
                                format_bytes(fixed.kv_remote_bytes[i]), tier.name,
                                format_bytes(tier.capacity_bytes)),
         .fix = "use a smaller --kv-ratio or --context, or raise --host-budget or the tier's size "
                "in --tiers"});
  }
}

}  // namespace

std::string_view name(PlacementPolicy policy) {
  return policy == PlacementPolicy::kGreedy ? "greedy" : "uniform";
}

PlacementPolicy parse_placement_policy(std::string_view text, std::string_view flag) {
  for (const PlacementPolicy policy : {PlacementPolicy::kUniform, PlacementPolicy::kGreedy}) {
    if (text == name(policy)) return policy;
  }
  throw_unknown(flag, text, "is not a way to place weights", {"uniform", "greedy"});
}

Workload default_workload(int64_t sequences, int64_t context) {
  return {{.phase = Phase::kDecode, .batch = sequences, .context = context}};
}

int64_t planned_context(const ModelConfig& config, const EngineOptions& options) {
  if (options.context < 0 || options.context > config.context_length) {
    throw_invalid(
        "--context", {}, std::to_string(options.context),
        fmt::format("is outside 1 to {}, the model's context length", config.context_length));
  }
  if (options.kv_tokens < 0) {
    throw_invalid("KV cache", "tokens", std::to_string(options.kv_tokens), "is negative");
  }
  const int64_t context =
      options.context > 0 ? options.context : std::min(config.context_length, kDefaultContext);
  return options.kv_tokens > 0 ? std::min(context, options.kv_tokens) : context;
}

Plan plan_model(const ModelFiles& files, const EngineOptions& options, std::vector<Tier> tiers) {
  check_access(options);
  const ModelConfig& config = files.config;
  const int64_t context = planned_context(config, options);
  const PlacementPolicy policy = policy_of(options);
  for (Tier& tier : tiers) {
    if (tier.kind == TierKind::kHost && options.host_budget_bytes) {
      tier.capacity_bytes = *options.host_budget_bytes;
    }
  }
  // Each sequence's pages are its own, unless a scheduler sees to it that they suffice.
  const int64_t kv_pages = options.kv_tokens > 0 ? kv_pages_for(options.kv_tokens)
                                                 : options.sequences * kv_pages_for(context);
  const int64_t kv_tokens = kv_pages * kPageTokens;
  const Program program = program_of(config, files.naming);
  std::vector<Operand> operands = operands_of(program, options.dtype, config.stored_dtype,
                                              files.checkpoint ? &*files.checkpoint : nullptr);
  if (options.device.backend == Backend::kCuda) check_for_cuda(operands, options, tiers);
  const DType input = matmul_input_dtype(options.device.backend, operands);
  const int64_t prefill_chunk = choose_prefill_chunk(
      program,
      {.asked = options.prefill_chunk,
       .context = context,
       .local_budget_bytes = options.local_budget_bytes.value_or(tiers.at(0).capacity_bytes),
       .input_dtype = input,
       .reads_weights_once = options.device.backend == Backend::kCuda &&
                             options.device.kernels != KernelKind::kPlain});
  const int64_t rows = std::max(prefill_chunk, options.sequences);
  const bool uva = options.mode == AccessMode::kUva;
  const DType kv_dtype = kv_cache_dtype(config, options);
  const KvRoom kv_room =
      kv_room_over(config, kv_dtype, kv_pages_for(kv_tokens), options.kv_ratio, tiers);
  const bool stages_kv = options.mode == AccessMode::kPrefetch && options.kv_ratio > 0;
  const std::array<int64_t, 2> kv_buffers = kv_buffer_bytes(config, kv_dtype, kv_room);
  std::array<int64_t, kMaxTiers> kv_remote_bytes{};
  for (TierIndex i = 1; i < kMaxTiers; ++i) {
    kv_remote_bytes[i] = KvCache::size_bytes(config, kv_dtype, kv_room, i);
  }
  const FixedMemory fixed{
      .vector_bytes = vector_bytes_of(program),
      .kv_bytes = KvCache::size_bytes(config, kv_dtype, kv_room, 0),
      .kv_remote_bytes = kv_remote_bytes,
      .kv_tokens = options.sequences == 1 && options.kv_tokens == 0 ? context : kv_tokens,
      .prefill_chunk = prefill_chunk,
      .activation_bytes = Workspace::size_bytes(program, rows, options.sequences, input),
      .kv_buffer_bytes = stages_kv ? kv_buffers[0] + kv_buffers[1] : 0,
      .uva_bytes = uva ? uva_bytes(program, rows) : 0,
      .backend_bytes =
          options.device.backend == Backend::kCuda
              ? cuda_backend_bytes(config, program, operands,
                                   {.rows = rows,
                                    .sequences = options.sequences,
                                    .context = context,
                                    .remote_kv = options.kv_ratio > 0,
                                    .prefetches = options.mode == AccessMode::kPrefetch,
                                    .stages_kv = stages_kv})
              : 0};
  if (options.mode == AccessMode::kResident) {
    check_resident(options, operands, fixed, tiers.at(0));
  }
  check_remote_kv(tiers, fixed);
  PlanRequest request{
      .model = config.name,
      .operands = std::move(operands),
      .fixed = fixed,
      .tiers = std::move(tiers),
      .local_budget_bytes = options.local_budget_bytes,
      .offload_ratio = options.offload_ratio,
      .prefetch = options.mode == AccessMode::kPrefetch,
  };
  if (options.kv_anywhere) add_kv_operands(config, kv_dtype, request);
  if (uva) return plan_whole_operands(request);
  if (policy == PlacementPolicy::kUniform) return plan_uniform(request);
  add_costs(config, program, options, context, request);
  return plan_greedy(request);
}

}  // namespace dak
