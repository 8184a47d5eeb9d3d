// Operations, plans and predictions of every shipped configuration on every preset, as they were
// when tests/data/engine/passes.json was written: what describes a pass may change its form, never
// these. `DAK_WRITE_GOLDEN=1` writes the file anew, for a change that is meant to change numbers.
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "base/file.h"
#include "base/json.h"
#include "engine/forecast.h"
#include "engine/model_costs.h"
#include "hardware/presets.h"
#include "plan/pass_bytes.h"

namespace dak {
namespace {

namespace fs = std::filesystem;

const fs::path kRoot = DAK_SOURCE_DIR;
const fs::path kGolden = fs::path(DAK_TEST_DATA) / "engine/passes.json";
constexpr double kRelative = 1e-12;  // sums in another order

// FNV-1a over what is printed.
class Digest {
 public:
  void add(const std::string& text) {
    for (const char c : text + ";") {
      hash_ = (hash_ ^ static_cast<unsigned char>(c)) * 0x100000001b3u;
    }
  }
  std::string text() const { return fmt::format("{:016x}", hash_); }

 private:
  uint64_t hash_ = 0xcbf29ce484222325u;
};

std::string spans_digest(const Plan& plan) {
  Digest digest;
  for (const OperandPlan& entry : plan.operands) {
    const Operand& o = entry.operand;
    digest.add(fmt::format("{} {} {}x{} {} {} {}", o.name, name(o.use), o.rows, o.cols,
                           name(o.dtype), name(o.stored), static_cast<int>(o.layout)));
    for (const TierSpan& span : entry.spans) {
      digest.add(fmt::format("{} {} {}", span.tier, span.first_block, span.blocks));
    }
  }
  for (const PrefetchPlan::Stage& stage : plan.prefetch.cycle) {
    digest.add(fmt::format("{} {}", stage.operand, stage.buffer));
  }
  return digest.text();
}

Json fixed_json(const FixedMemory& f) {
  return {f.vector_bytes,  f.kv_bytes,         f.kv_all_remote_bytes(), f.kv_tokens,
          f.prefill_chunk, f.activation_bytes, f.prefetch_bytes,        f.kv_buffer_bytes,
          f.uva_bytes,     f.backend_bytes};
}

Json kinds_json(const EntryForecast& entry, size_t tiers) {
  Json kinds = Json::array();
  for (const KindForecast& kind : entry.kinds) {
    double bytes = 0;
    for (size_t t = 0; t < tiers; ++t) bytes += kind.read_bytes[t];
    kinds.push_back({kind.name, kind.count, kind.seconds, bytes, kind.bound_by});
  }
  return kinds;
}

Json forecast_json(const Forecast& forecast) {
  Json entries = Json::array();
  for (const EntryForecast& e : forecast.entries) {
    entries.push_back({e.seconds, e.tokens_per_s, e.bound_s, e.bound_by});
  }
  return entries;
}

std::vector<Operand> operands_in(const Plan& plan) {
  std::vector<Operand> operands;
  for (const OperandPlan& entry : plan.operands) operands.push_back(entry.operand);
  return operands;
}

// Alike ones once, with their number, in the order of their first.
Json operations_json(const ModelFiles& files, const Plan& plan) {
  Json listed = Json::array();
  for (const Operation& op :
       operations_of(program_of(files.config), operands_in(plan), DType::kBF16, plan.fixed)) {
    Json one{op.name,
             static_cast<int>(op.kind),
             op.size_bytes,
             op.rows,
             op.cols,
             op.for_logits,
             op.kv_token_bytes,
             op.query_values,
             op.kv_heads,
             op.window,
             flops_of(op, {.rows = 3, .sequences = 3, .past = 99, .logit_rows = 3}),
             flops_of(op, {.rows = 200, .sequences = 1, .past = 50, .logit_rows = 1})};
    const auto known =
        std::ranges::find_if(listed, [&](const Json& other) { return other["operation"] == one; });
    if (known != listed.end()) {
      (*known)["count"] = (*known)["count"].get<int64_t>() + 1;
    } else {
      listed.push_back({{"operation", std::move(one)}, {"count", 1}});
    }
  }
  return listed;
}

struct Case {
  std::string name;
  EngineOptions options;
  bool with_kinds = false;
};

// `share` of the weights' bytes local.
Json planned(const ModelFiles& files, const std::vector<Tier>& tiers, const Case& one,
             double share) {
  EngineOptions options = one.options;
  if (share > 0) {
    EngineOptions all = options;
    all.kv_anywhere = false;
    const Plan whole = plan_model(files, all, tiers);
    options.local_budget_bytes =
        whole.fixed.total_bytes() +
        static_cast<int64_t>(share * static_cast<double>(whole.weight_bytes()));
  }
  const Plan plan = plan_model(files, options, tiers);
  const Forecast forecast = forecast_of(files.config, options, plan, options.workload);
  const TierTraffic traffic = decode_weight_traffic(plan, 3);
  Json json{{"spans", spans_digest(plan)},
            {"fixed", fixed_json(plan.fixed)},
            {"smallest", plan.smallest_local_budget_bytes},
            {"forecast", forecast_json(forecast)}};
  for (size_t t = 0; t < tiers.size(); ++t) {
    json["weights"].push_back(plan.weight_bytes_in(static_cast<TierIndex>(t)));
    json["decode"].push_back(traffic.read_bytes[t]);
  }
  if (one.with_kinds) {
    for (const EntryForecast& entry : forecast.entries) {
      json["kinds"].push_back(kinds_json(entry, tiers.size()));
    }
  }
  return json;
}

EngineOptions options_on(const std::optional<HardwareProfile>& hardware, const ModelFiles& files) {
  const int64_t context = std::min<int64_t>(1500, files.config.context_length);
  EngineOptions options{.device = {.backend = hardware ? Backend::kCuda : Backend::kCpu},
                        .context = context,
                        .sequences = 8,
                        .dtype = DType::kBF16};
  options.workload = parse_workload(
      fmt::format("decode:batch=8,context={}*0.8 + prefill:{}*0.2", context, context - 7), "test");
  options.hardware = hardware;
  return options;
}

EngineOptions in_mode(EngineOptions options, AccessMode mode, double ratio, double kv_ratio) {
  options.mode = mode;
  options.offload_ratio = ratio;
  options.kv_ratio = kv_ratio;
  return options;
}

std::vector<Tier> roomy(std::vector<Tier> tiers) {
  for (Tier& tier : tiers) tier.capacity_bytes = int64_t{1} << 41;
  return tiers;
}

// Everything that one model is, on `presets`.
Json model_json(const fs::path& path, const std::vector<std::string>& presets) {
  const ModelFiles files = open_model(path, /*need_weights=*/false);
  Json json;
  for (const std::string& preset : presets) {
    const EngineOptions options = options_on(hardware_named(preset), files);
    const std::vector<Tier> tiers = roomy(options.hardware->plan_tiers());
    EngineOptions resident = options;
    resident.mode = AccessMode::kResident;
    json[preset + " direct"] = planned(files, tiers, {"", options, preset == "h200"}, 0.4);
    json[preset + " resident"] = planned(files, tiers, {"", resident}, 0);
    if (preset != "h200") continue;
    EngineOptions many = options;
    many.sequences = 100;
    many.kv_ratio = 0.5;
    EngineOptions what_if = options;
    what_if.kv_anywhere = true;
    json["direct, 100 sequences"] = planned(files, tiers, {"", many}, 0.7);
    json["kv anywhere"] = planned(files, tiers, {"", what_if, true}, 0.7);
    json["prefetch"] =
        planned(files, tiers, {"", in_mode(options, AccessMode::kPrefetch, 0.3, 0.5)}, 0);
    json["uva"] = planned(files, tiers, {"", in_mode(options, AccessMode::kUva, 0.3, 0)}, 0);
    json["operations"] = operations_json(files, plan_model(files, options, tiers));
  }
  json["cpu"] = planned(files, roomy(cpu_tiers(50e9)), {"", options_on(std::nullopt, files)}, 0.4);
  return json;
}

Json all_models() {
  Json models;
  std::vector<std::string> every;
  for (const PresetText& preset : preset_texts()) every.emplace_back(preset.name);
  for (const auto& entry : fs::directory_iterator(kRoot / "configs")) {
    models[entry.path().filename().string()] = model_json(entry.path(), every);
  }
  // What configs/ has none of: norms of heads, windows, norms after a block, no tied embeddings.
  for (const char* tiny : {"llama_mha", "mistral", "opt_post_norm", "qwen2", "qwen3"}) {
    models[tiny] = model_json(fs::path(DAK_TEST_DATA) / "model/hf" / tiny, {"h200"});
  }
  return models;
}

// Numbers may differ by the order of sums; nothing else may.
bool alike_json(const Json& a, const Json& b) {
  if (a.is_number_float() && b.is_number_float()) {
    return std::abs(a.get<double>() - b.get<double>()) <= kRelative * std::abs(b.get<double>());
  }
  if (a.type() != b.type() && !(a.is_number() && b.is_number())) return false;
  if (!a.is_structured()) return a == b;
  if (a.size() != b.size()) return false;
  if (a.is_array()) return std::equal(a.begin(), a.end(), b.begin(), alike_json);
  return std::ranges::all_of(b.items(), [&](const auto& item) {
    return a.contains(item.key()) && alike_json(a.at(item.key()), item.value());
  });
}

// A line for each plan.
std::string lines_of(const Json& models) {
  std::string text = "{\n";
  for (const auto& model : models.items()) {
    text += fmt::format("{}{}: {{\n", text.size() > 2 ? ",\n" : "", Json(model.key()).dump());
    std::string rows;
    for (const auto& row : model.value().items()) {
      rows += fmt::format("{}  {}: {}", rows.empty() ? "" : ",\n", Json(row.key()).dump(),
                          row.value().dump());
    }
    text += rows + "\n}";
  }
  return text + "\n}\n";
}

TEST(PassGolden, OperationsPlansAndPredictionsAreWhatTheyWere) {
  const Json found = all_models();
  if (std::getenv("DAK_WRITE_GOLDEN") != nullptr) {
    write_text_file(kGolden.string(), lines_of(found), "check the folder");
  }
  const Json golden = parse_json(read_text_file(kGolden), kGolden.string());
  ASSERT_EQ(found.size(), golden.size());
  for (const auto& model : golden.items()) {
    ASSERT_TRUE(found.contains(model.key())) << model.key();
    for (const auto& row : model.value().items()) {
      const Json& now = found.at(model.key()).at(row.key());
      EXPECT_TRUE(alike_json(now, row.value())) << model.key() << ", " << row.key() << ":\n"
                                                << now << "\nwas\n"
                                                << row.value();
    }
    EXPECT_EQ(found.at(model.key()).size(), model.value().size()) << model.key();
  }
}

TEST(PassGolden, OtherNumbersAreFound) {
  const Json one{{"a", {1, 2.0, "x"}}};
  EXPECT_TRUE(alike_json(one, one));
  EXPECT_TRUE(alike_json(Json{{"a", {1, 2.0 + 1e-13, "x"}}}, one));
  for (const Json& other :
       {Json{{"a", {1, 2.0, "y"}}}, Json{{"a", {2, 2.0, "x"}}}, Json{{"a", {1, 2.0 + 1e-10, "x"}}},
        Json{{"b", {1, 2.0, "x"}}}, Json{{"a", {1, 2.0}}}}) {
    EXPECT_FALSE(alike_json(other, one)) << other;
  }
}

}  // namespace
}  // namespace dak
