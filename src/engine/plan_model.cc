#include <algorithm>
#include <array>

#include "engine/engine.h"
#include "hardware/memory_info.h"
#include "model/families.h"
#include "model/loader.h"
#include "plan/planner.h"

namespace dak {

DType kv_cache_dtype(const ModelConfig& config, const EngineOptions& options) {
  if (options.kv_dtype) return *options.kv_dtype;
  return options.dtype.value_or(held_dtype(std::array{config.stored_dtype}));
}

std::vector<Tier> cpu_tiers(double read_bytes_per_s) {
  const Tier local{.name = "local",
                   .kind = TierKind::kLocal,
                   .capacity_bytes = available_memory_bytes(),
                   .read_bytes_per_s = read_bytes_per_s,
                   .channel = "DRAM"};
  Tier host = local;
  host.name = "host";
  host.kind = TierKind::kHost;
  return {local, host};
}

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
  return plan_uniform({
      .model = config.name,
      .operands = operands_of(specs, options.dtype, config.stored_dtype,
                              files.checkpoint ? &*files.checkpoint : nullptr),
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
