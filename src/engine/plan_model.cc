#include <algorithm>
#include <array>

#include "base/units.h"
#include "engine/engine.h"
#include "model/families.h"
#include "model/loader.h"
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

}  // namespace

Plan plan_model(const ModelFiles& files, const EngineOptions& options, std::vector<Tier> tiers) {
  const ModelConfig& config = files.config;
  if (options.context < 0 || options.context > config.context_length) {
    throw_invalid(
        "--context", {}, std::to_string(options.context),
        fmt::format("is outside 1 to {}, the model's context length", config.context_length));
  }
  const int64_t context =
      options.context > 0 ? options.context : std::min(config.context_length, kDefaultContext);
  for (Tier& tier : tiers) {
    if (tier.kind == TierKind::kHost && options.host_budget_bytes) {
      tier.capacity_bytes = *options.host_budget_bytes;
    }
  }
  const int64_t rows = std::min(options.prefill_chunk, context);
  const WeightSpecs specs = family_named(config.family).weights(config, files.naming);
  std::vector<Operand> operands = operands_of(specs, options.dtype, config.stored_dtype,
                                              files.checkpoint ? &*files.checkpoint : nullptr);
  if (options.device.backend == Backend::kCuda) check_for_cuda(operands, options, tiers);
  return plan_uniform({
      .model = config.name,
      .operands = std::move(operands),
      .fixed = {.vector_bytes = vector_bytes_of(specs),
                .kv_bytes = KvCache::size_bytes(config, kv_cache_dtype(config, options), context),
                .kv_tokens = context,
                .activation_bytes = Workspace::size_bytes(config, rows, 1)},
      .tiers = std::move(tiers),
      .local_budget_bytes = options.local_budget_bytes,
      .offload_ratio = options.offload_ratio,
  });
}

}  // namespace dak
