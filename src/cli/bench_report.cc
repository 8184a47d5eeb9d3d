#include "cli/bench_report.h"

#include <fmt/core.h>

#include <algorithm>

#include "base/units.h"
#include "cli/bench_rows.h"

namespace dak {
namespace {

struct Column {
  std::string title;
  std::string field;
  int width = 0;
  int digits = 0;
  double scale = 1;
};

constexpr double kMilli = 1e3;
constexpr double kPerGiga = 1e-9;
constexpr std::string_view kNested = "feedback";  // an object: in JSON alone

std::string tier_name(const OrderedRow& tier) { return tier["name"].get<std::string>(); }
bool is_local(const OrderedRow& tier) { return tier["kind"] == name(TierKind::kLocal); }
std::string tier_field(std::string_view prefix, const OrderedRow& tier) {
  return field_of(prefix, {.name = tier_name(tier)});
}

std::vector<Column> number_columns(const OrderedRow& machine) {
  std::vector<Column> columns{
      {"TPOT ms", "tpot_s", 8, 3, kMilli},
      {"spread %", "tpot_spread_percent", 8, 1},
      {"tokens/s", "tokens_per_s", 9, 1},
  };
  for (const OrderedRow& tier : machine["tiers"]) {
    columns.push_back({tier_name(tier) + " GB/s", tier_field("gb_s", tier), 10, 1});
  }
  for (const OrderedRow& tier : machine["tiers"]) {
    columns.push_back(
        {"KV " + tier_name(tier) + " GB", tier_field("kv_bytes", tier), 10, 3, kPerGiga});
  }
  for (const OrderedRow& tier : machine["tiers"]) {
    columns.push_back({"KV " + tier_name(tier) + " GB/s", tier_field("kv_gb_s", tier), 10, 1});
  }
  for (Column& column : std::vector<Column>{{"EB GB/s", "eb_gb_s", 8, 1},
                                            {"bound ms", "bound_s", 8, 3, kMilli},
                                            {"% of bound", "percent_of_bound", 10, 1},
                                            {"predicted ms", "predicted_tpot_s", 12, 3, kMilli}}) {
    columns.push_back(std::move(column));
  }
  return columns;
}

std::string number(const OrderedRow& row, const Column& column) {
  const OrderedRow& value = row[column.field];
  if (value.is_null()) return "-";
  return fmt::format("{:.{}f}", value.get<double>() * column.scale, column.digits);
}

// "5.0 %": what it came to, or what was asked of a cell that did not run.
std::string ratio_text(const OrderedRow& row) {
  const OrderedRow& got = row["offload_ratio"];
  const OrderedRow& ratio = got.is_null() ? row["ratio_asked"] : got;
  return ratio.is_null() ? "-" : fmt::format("{:.2f}", 100 * ratio.get<double>());
}

std::string bytes_text(const OrderedRow& value) {
  return value.is_null() ? "-" : format_bytes(value.get<int64_t>());
}

// Of the first remote tier whose link was read: "416 KiB", "256 KiB fixed", and "5.2 (1.6)" us.
std::pair<std::string, std::string> link_text(const OrderedRow& machine, const OrderedRow& row) {
  const bool fixed = !row["window_asked_bytes"].is_null();
  for (const OrderedRow& tier : machine["tiers"]) {
    if (is_local(tier) || row[tier_field("window_bytes", tier)].is_null()) continue;
    return {bytes_text(row[tier_field("window_bytes", tier)]) + (fixed ? " fixed" : ""),
            fmt::format("{:.1f} ({:.1f})", row[tier_field("delay_us", tier)].get<double>(),
                        row[tier_field("min_delay_us", tier)].get<double>())};
  }
  return {fixed ? bytes_text(row["window_asked_bytes"]) + " fixed" : "-", "-"};
}

std::string text_of(const OrderedRow& value) {
  if (value.is_null()) return "-";
  return value.is_string() ? value.get<std::string>() : value.dump();
}

// In order; a width of 0 leaves the last column ragged.
std::vector<std::pair<std::string, std::string>> cells_of(const OrderedRow& machine,
                                                          const OrderedRow& row, bool titles) {
  std::vector<std::pair<std::string, std::string>> cells;
  const auto add = [&](const std::string& title, int width, const auto& value) {
    const std::string text = titles ? title : value();
    cells.emplace_back(title, fmt::format("{:>{}}", text, width));
  };
  add("mode", 8, [&] { return text_of(row["mode"]); });
  add("batch", 5, [&] { return text_of(row["batch"]); });
  add("remote %", 8, [&] { return ratio_text(row); });
  add("budget", 8, [&] { return bytes_text(row["hbm_budget_bytes"]); });
  add("local used", 10, [&] { return bytes_text(row["hbm_used_bytes"]); });
  for (const Column& column : number_columns(machine)) {
    add(column.title, column.width, [&] { return number(row, column); });
  }
  add("bound by", 9, [&] { return text_of(row["bound_by"]); });
  add("window", 13, [&] { return link_text(machine, row).first; });
  add("delay (least) us", 16, [&] { return link_text(machine, row).second; });
  add("W", 5, [&] { return number(row, {"W", "power_w", 0, 0}); });
  add("J/token", 7, [&] { return number(row, {"J/token", "j_per_token", 0, 2}); });
  add("note", 4, [&] { return text_of(row["skipped"]); });
  return cells;
}

std::string line_of(const std::vector<std::pair<std::string, std::string>>& cells) {
  std::string line = "|";
  for (const auto& [title, text] : cells) {
    std::string safe = text;
    std::ranges::replace(safe, '|', '/');
    line += " " + safe + " |";
  }
  return line + "\n";
}

std::string csv_field(const OrderedRow& value) {
  if (value.is_null()) return {};
  if (!value.is_string()) return value.dump();
  std::string quoted = "\"";
  for (const char c : value.get<std::string>()) quoted += c == '"' ? "\"\"" : std::string(1, c);
  return quoted + "\"";
}

}  // namespace

std::string markdown_header(const OrderedRow& document) {
  const OrderedRow& machine = document["machine"];
  const OrderedRow& settings = document["settings"];
  const OrderedRow& model = document["model"];
  const bool gpu = !machine["gpu"].is_null();
  std::string text = fmt::format(
      "decode of {} ({}, {} of weights{}) on {}, dak {} ({}), {}\n", text_of(model["name"]),
      text_of(model["dtype"]), bytes_text(model["weight_bytes"]),
      model["synthetic_seed"].is_null() ? "" : ", synthetic",
      text_of(gpu ? machine["gpu"] : machine["cpu"]), text_of(machine["dak_version"]),
      text_of(machine["dak_commit"]), text_of(machine["date_utc"]));
  if (gpu) {
    text += fmt::format("kernels {}, driver {}, CUDA {}, PCIe {} x{}, {} threads of {}\n",
                        text_of(machine["kernels"]), text_of(machine["driver"]),
                        text_of(machine["cuda_runtime"]), text_of(machine["pcie_generation"]),
                        text_of(machine["pcie_width"]), text_of(machine["cpu_threads"]),
                        text_of(machine["cpu"]));
  }
  std::string rates;
  for (const OrderedRow& tier : machine["tiers"]) {
    rates += fmt::format("{}{} {:.1f} GB/s ({})", rates.empty() ? "" : ", ", tier_name(tier),
                         tier["gb_s"].get<double>(), text_of(tier["channel"]));
  }
  text += fmt::format("probed now: {}; matched ratio {:.2f} %\n", rates,
                      100 * machine["matched_ratio"].get<double>());
  text += fmt::format("{} past tokens; {} x {} steps after {} to warm up\n\n",
                      text_of(settings["past_tokens"]), text_of(settings["repeats"]),
                      text_of(settings["steps"]), text_of(settings["warmup_steps"]));
  const auto titles = cells_of(machine, {}, true);
  text += line_of(titles) + "|";
  for (const auto& [title, cell] : titles) text += std::string(cell.size() + 1, '-') + ":|";
  return text + "\n";
}

std::string markdown_row(const OrderedRow& document, const OrderedRow& row) {
  return line_of(cells_of(document["machine"], row, false));
}

std::string csv_header(const OrderedRow& row) {
  std::string line = "date_utc,dak_commit,device_name,model";
  for (const auto& [field, value] : row.items()) {
    if (field != kNested) line += "," + field;
  }
  return line + "\n";
}

std::string csv_row(const OrderedRow& document, const OrderedRow& row) {
  const OrderedRow& machine = document["machine"];
  std::string line = csv_field(machine["date_utc"]) + "," + csv_field(machine["dak_commit"]) + "," +
                     csv_field(machine["gpu"].is_null() ? machine["cpu"] : machine["gpu"]) + "," +
                     csv_field(document["model"]["name"]);
  for (const auto& [field, value] : row.items()) {
    if (field != kNested) line += "," + csv_field(value);
  }
  return line + "\n";
}

}  // namespace dak
