#include "cli/plan_report.h"

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>

#include "base/units.h"
#include "plan/bound.h"
#include "plan/pass_bytes.h"

namespace dak {
namespace {

constexpr size_t kMostTimeColumns = 3;  // entries of the workload; the others are below the table

// Operands of different layers that are alike in all but the layer: "layers.*.qkv".
struct OperandGroup {
  std::string name;
  int64_t count = 0;
  Operand operand;
  std::vector<int64_t> tier_bytes;
};

std::vector<OperandGroup> grouped(const Plan& plan) {
  std::vector<OperandGroup> groups;
  std::map<std::string, size_t> index;
  for (const OperandPlan& entry : plan.operands) {
    const std::string& name = entry.operand.kind;
    const auto [found, is_new] = index.emplace(name, groups.size());
    if (is_new) {
      groups.push_back({.name = name,
                        .count = 0,
                        .operand = entry.operand,
                        .tier_bytes = std::vector<int64_t>(plan.tiers.size())});
    }
    OperandGroup& group = groups[found->second];
    group.count += 1;
    for (size_t i = 0; i < plan.tiers.size(); ++i) {
      group.tier_bytes[i] += entry.bytes_in(static_cast<TierIndex>(i));
    }
  }
  return groups;
}

double percent(double part, double whole) { return whole == 0 ? 0 : 100.0 * part / whole; }

std::string tier_columns(const std::vector<int64_t>& bytes) {
  std::string columns;
  for (const int64_t value : bytes) columns += fmt::format(" {:>10}", format_bytes(value));
  return columns;
}

std::string fixed_row(std::string_view label, int64_t bytes, size_t tiers) {
  std::vector<int64_t> columns(tiers);
  columns[0] = bytes;
  return fmt::format("{:<26}{:>24}{}\n", label, "", tier_columns(columns));
}

size_t time_columns(const Forecast& forecast) {
  return std::min(forecast.entries.size(), kMostTimeColumns);
}

// "  18.2 HBM" for each entry: of one of `count` operations.
std::string times_of(const Forecast& forecast, const std::string& kind, int64_t count) {
  std::string columns;
  for (size_t i = 0; i < time_columns(forecast); ++i) {
    const auto& kinds = forecast.entries[i].kinds;
    const auto found =
        std::ranges::find_if(kinds, [&](const KindForecast& k) { return k.name == kind; });
    if (found == kinds.end() || found->seconds == 0) {
      columns += fmt::format(" {:>11}  {:<9}", "-", "");
    } else {
      const double each = found->seconds / static_cast<double>(count > 0 ? count : found->count);
      columns += fmt::format(" {:>11.1f}  {:<9}", each * 1e6, found->bound_by);
    }
  }
  return columns.substr(0, columns.find_last_not_of(' ') + 1);
}

std::string header(const Plan& plan, const Forecast& forecast) {
  std::string text =
      fmt::format("{:<20} {:>5} {:>14} {:>7}", "operation", "count", "shape", "dtype");
  for (const Tier& tier : plan.tiers) text += fmt::format(" {:>10}", tier.name);
  text += fmt::format(" {:>9}", "offloaded");
  for (size_t i = 0; i < time_columns(forecast); ++i) {
    text += fmt::format(" {:>8} us  {:<9}", name(forecast.entries[i].entry.phase), "waits for");
  }
  return text.substr(0, text.find_last_not_of(' ') + 1) + "\n";
}

// Operations that have no weight: attention, norms, what a pass does once.
std::string other_rows(const Plan& plan, const Forecast& forecast,
                       const std::vector<OperandGroup>& groups) {
  std::string text;
  if (forecast.entries.empty()) return text;
  for (const KindForecast& kind : forecast.entries[0].kinds) {
    const bool has_weight = std::ranges::any_of(
        groups, [&](const OperandGroup& group) { return group.name == kind.name; });
    if (has_weight) continue;
    text += fmt::format("{:<20} {:>5} {:{}}{}\n", kind.name, kind.count, "",
                        14 + 8 + 11 * plan.tiers.size() + 10, times_of(forecast, kind.name, 0));
  }
  return text;
}

// Three digits that count.
std::string rate_text(double tokens_per_s) {
  return fmt::format("{:.{}f}", tokens_per_s, tokens_per_s < 1 ? 3 : tokens_per_s < 10 ? 2 : 1);
}

std::string ms(double seconds) { return fmt::format("{:.2f} ms", seconds * 1e3); }

std::string entry_line(const EntryForecast& entry) {
  const bool decode = entry.entry.phase == Phase::kDecode;
  return fmt::format("{:<34} {} {:>10}  {:>9} tokens/s  {:>3.0f} % of the bound: {} {}\n",
                     entry.entry.text(), decode ? "TPOT" : "TTFT", ms(entry.seconds),
                     rate_text(entry.tokens_per_s), percent(entry.bound_s, entry.seconds),
                     entry.bound_by, ms(entry.bound_s));
}

// A prompt where the workload names none: the first thing people ask.
WorkloadEntry usual_prompt(const PlanQuestion& question) {
  constexpr int64_t kUsual = 512;
  const int64_t room = planned_context(question.files->config, question.options);
  return {.phase = Phase::kPrefill, .tokens = std::min(kUsual, room)};
}

bool knows_arithmetic(const EngineOptions& options) {
  return options.hardware && !options.hardware->peak_flops_per_s.empty();
}

// What the predictions leave out, where it matters.
std::string limits_of_model(const PlanQuestion& question) {
  const EngineOptions& options = question.options;
  std::string text;
  if (options.mode != AccessMode::kDirect && options.mode != AccessMode::kResident) {
    text += fmt::format("these are times of mode direct; mode {} is not modelled\n",
                        name(options.mode));
  }
  if (!knows_arithmetic(options)) {
    text +=
        "times of prefill need the speed of arithmetic, which is not known: run dak probe once\n";
  }
  if (options.device.backend != Backend::kCuda) return text;
  const std::string capability =
      options.hardware ? options.hardware->compute_capability : std::string();
  const bool no_tma = !capability.empty() && capability != "9.0";
  if (options.device.kernels == KernelKind::kPlain || no_tma) {
    text +=
        "these are times of the tma kernels; here plain ones run, which read HBM half as fast "
        "(docs/design/kernels/README.md)\n";
  }
  return text;
}

nlohmann::json entry_json(const EntryForecast& entry) {
  nlohmann::json kinds = nlohmann::json::array();
  for (const KindForecast& kind : entry.kinds) {
    kinds.push_back({{"name", kind.name},
                     {"count", kind.count},
                     {"seconds", kind.seconds},
                     {"bound_by", kind.bound_by}});
  }
  const bool decode = entry.entry.phase == Phase::kDecode;
  return {{"entry", entry.entry.text()},        {"phase", name(entry.entry.phase)},
          {"share", entry.entry.share},         {decode ? "tpot_s" : "ttft_s", entry.seconds},
          {"tokens_per_s", entry.tokens_per_s}, {"bound_s", entry.bound_s},
          {"bound_by", entry.bound_by},         {"operations", kinds}};
}

nlohmann::json forecast_json(const Forecast& forecast) {
  nlohmann::json entries = nlohmann::json::array();
  for (const EntryForecast& entry : forecast.entries) entries.push_back(entry_json(entry));
  return {{"tokens_per_s", forecast.tokens_per_s}, {"entries", entries}};
}

// What one decode step of one sequence reads of the weights, whatever the workload.
nlohmann::json decode_json(const Plan& plan) {
  const TierTraffic traffic = decode_weight_traffic(plan, 1);
  nlohmann::json bytes = nlohmann::json::object();
  for (size_t i = 0; i < plan.tiers.size(); ++i) bytes[plan.tiers[i].name] = traffic.read_bytes[i];
  std::string bottleneck;
  const double seconds = bound_seconds(plan.tiers, traffic, &bottleneck);
  return {{"bytes", bytes},
          {"bound_s", seconds},
          {"bottleneck", bottleneck},
          {"tokens_per_s_at_most", seconds > 0 ? 1 / seconds : 0},
          {"smallest_local_budget_bytes", plan.smallest_local_budget_bytes}};
}

}  // namespace

std::string plan_table(const Plan& plan, const Forecast& forecast) {
  const bool kv_planned = plan.fixed.kv_bytes + plan.fixed.kv_all_remote_bytes() == 0;
  std::string text =
      fmt::format("plan for {}: {} placement, {:.1f} % of the weights{} offloaded\n", plan.model,
                  plan.policy, 100 * plan.offload_ratio(), kv_planned ? " and KV cache" : "");
  text += fmt::format("why: {}\n\n", plan.reason);
  text += header(plan, forecast);
  const std::vector<OperandGroup> groups = grouped(plan);
  for (const OperandGroup& group : groups) {
    int64_t total = 0;
    for (const int64_t bytes : group.tier_bytes) total += bytes;
    text += fmt::format(
        "{:<20} {:>5} {:>14} {:>7}{} {:>7.1f} %{}\n", group.name, group.count,
        fmt::format("{}x{}", group.operand.rows, group.operand.cols), name(group.operand.dtype),
        tier_columns(group.tier_bytes),
        percent(static_cast<double>(total - group.tier_bytes[0]), static_cast<double>(total)),
        times_of(forecast, group.name, group.count));
  }
  text += other_rows(plan, forecast, groups);
  const size_t tiers = plan.tiers.size();
  text += fixed_row("norms and biases", plan.fixed.vector_bytes, tiers);
  if (!kv_planned) {
    text += fixed_row(fmt::format("KV cache, {} tokens", plan.fixed.kv_tokens), plan.fixed.kv_bytes,
                      tiers);
  }
  if (plan.fixed.kv_all_remote_bytes() > 0) {
    const std::vector<int64_t> bytes(plan.fixed.kv_remote_bytes.begin(),
                                     plan.fixed.kv_remote_bytes.begin() + std::ssize(plan.tiers));
    text += fmt::format("{:<50}{}\n", "KV cache, its oldest pages", tier_columns(bytes));
  }
  text += fixed_row(fmt::format("workspace, passes of {} tokens", plan.fixed.prefill_chunk),
                    plan.fixed.activation_bytes, tiers);
  if (plan.fixed.prefetch_bytes > 0) {
    text += fixed_row("prefetch buffers", plan.fixed.prefetch_bytes, tiers);
  }
  if (plan.fixed.kv_buffer_bytes > 0) {
    text += fixed_row("prefetch buffers, KV pages", plan.fixed.kv_buffer_bytes, tiers);
  }
  if (plan.fixed.backend_bytes > 0) {
    text += fixed_row("schedules, partial sums", plan.fixed.backend_bytes, tiers);
  }
  if (plan.fixed.uva_bytes > 0) text += fixed_row("cuBLASLt", plan.fixed.uva_bytes, tiers);
  std::vector<int64_t> totals;
  for (size_t i = 0; i < tiers; ++i) totals.push_back(plan.bytes_in(static_cast<TierIndex>(i)));
  text += fmt::format("{:<26}{:>24}{}\n", "total", "", tier_columns(totals));
  return text;
}

std::string forecast_text(const PlanQuestion& question, const PlanAnswer& answer) {
  std::string rates;
  for (const Tier& tier : answer.plan.tiers) {
    rates += fmt::format("{}{} {}", rates.empty() ? "" : ", ", tier.name,
                         tier.read_bytes_per_s > 0 ? format_rate(tier.read_bytes_per_s)
                                                   : std::string("bandwidth unknown"));
  }
  std::string text =
      fmt::format("\npredicted, nothing loaded, on {} ({}):\n", question.hardware_origin, rates);
  for (const EntryForecast& entry : answer.forecast.entries) text += entry_line(entry);
  const bool prompt_asked = answer.forecast.first(Phase::kPrefill) != nullptr;
  if (!prompt_asked && knows_arithmetic(question.options)) {
    const Forecast prompt = forecast_of(question.files->config, question.options, answer.plan,
                                        {usual_prompt(question)});
    text += entry_line(prompt.entries[0]);
  }
  if (answer.forecast.entries.size() > 1) {
    text += fmt::format("{:<34} {:>26} tokens/s together\n",
                        "the mix, by share of tokens:", rate_text(answer.forecast.tokens_per_s));
  }
  return text + limits_of_model(question);
}

std::string comparison_text(const std::vector<PlanAnswer>& compared) {
  std::string text;
  if (compared.empty()) return text;
  const double first = compared.front().forecast.tokens_per_s;
  text += fmt::format("\n{:<10} {:>10} {:>12} {:>8}", "placement", "offloaded", "tokens/s", "");
  for (const EntryForecast& entry : compared.front().forecast.entries) {
    text += fmt::format(" {:>12}", entry.entry.phase == Phase::kDecode ? "TPOT" : "TTFT");
  }
  text += "\n";
  for (const PlanAnswer& one : compared) {
    text += fmt::format("{:<10} {:>8.1f} % {:>12} {:>7.2f}x", one.plan.policy,
                        100 * one.plan.offload_ratio(), rate_text(one.forecast.tokens_per_s),
                        one.forecast.tokens_per_s / first);
    for (const EntryForecast& entry : one.forecast.entries) {
      text += fmt::format(" {:>12}", ms(entry.seconds));
    }
    text += "\n";
  }
  return text;
}

std::string what_if_text(const PlanQuestion& question, const PlanAnswer& answer,
                         const WhatIfs& others) {
  const int64_t sequences = question.options.sequences;
  const int64_t context = planned_context(question.files->config, question.options);
  const auto sequences_text = [](int64_t count) {
    return fmt::format("{} sequence{}", count, count == 1 ? "" : "s");
  };
  std::string text = "\nat this local budget:\n";
  text += fmt::format("  smallest that works   {}\n", format_bytes(others.smallest_budget_bytes));
  text += fmt::format("  longest context       {} tokens for {}{}\n", others.largest_context,
                      sequences_text(sequences),
                      others.context_is_models ? ", all that the model has" : "");
  text += fmt::format("  largest batch         {} of {} tokens each\n",
                      sequences_text(others.largest_batch), context);
  if (others.tokens_per_s_with_one_gib_more) {
    const double more = *others.tokens_per_s_with_one_gib_more;
    const double now = answer.forecast.tokens_per_s;
    text += fmt::format("  with 1 GiB more       {} tokens/s for {}, {:+.1f} %\n", rate_text(more),
                        rate_text(now), 100 * (more / now - 1));
  } else {
    text += "  with 1 GiB more       nothing: no weight is offloaded\n";
  }
  return text;
}

nlohmann::json plan_json(const PlanQuestion& question, const PlanAnswer& answer,
                         const WhatIfs& others, const std::vector<PlanAnswer>& compared) {
  nlohmann::json json = answer.plan;
  json["decode"] = decode_json(answer.plan);
  json["hardware"] = question.hardware_origin;
  json["workload"] = workload_text(question.options.workload);
  json["forecast"] = forecast_json(answer.forecast);
  json["what_if"] = {{"smallest_local_budget_bytes", others.smallest_budget_bytes},
                     {"largest_context", others.largest_context},
                     {"largest_batch", others.largest_batch},
                     {"tokens_per_s_with_one_gib_more", nullptr}};
  if (others.tokens_per_s_with_one_gib_more) {
    json["what_if"]["tokens_per_s_with_one_gib_more"] = *others.tokens_per_s_with_one_gib_more;
  }
  for (const PlanAnswer& one : compared) {
    json["compared"].push_back({{"placement", one.plan.policy},
                                {"offload_ratio", one.plan.offload_ratio()},
                                {"forecast", forecast_json(one.forecast)}});
  }
  return json;
}

}  // namespace dak
