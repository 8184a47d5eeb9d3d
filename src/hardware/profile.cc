#include "hardware/profile.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "base/file.h"
#include "base/json_field.h"

namespace dak {
namespace {

constexpr std::string_view kFormat = "dak hardware profile";
constexpr double kGiga = 1e9;
constexpr double kTera = 1e12;
// Far beyond any machine there is; a number past them is of another unit.
constexpr double kMostGigabytesPerS = 1e6;
constexpr double kMostMicroseconds = 1e6;
constexpr double kMostTeraflops = 1e6;
constexpr double kLeast = 1e-6;
constexpr int64_t kMostBytes = int64_t{1} << 60;
constexpr double kMeasurementError = 1.05;  // two runs of one measurement may differ so far

template <typename Value>
nlohmann::json or_null(const std::optional<Value>& value, double unit = 1) {
  if (!value) return nullptr;
  if constexpr (std::is_same_v<Value, double>) return *value / unit;
  return *value;
}

double rate(const JsonField& field) { return field.number(kLeast, kMostGigabytesPerS) * kGiga; }

std::optional<double> optional_rate(const JsonField& tier, std::string_view key) {
  const auto field = tier.find(key);
  return field ? std::optional(rate(*field)) : std::nullopt;
}

std::optional<double> optional_us(const JsonField& tier, std::string_view key) {
  const auto field = tier.find(key);
  return field ? std::optional(field->number(kLeast, kMostMicroseconds)) : std::nullopt;
}

std::optional<int64_t> optional_count(const JsonField& tier, std::string_view key, int64_t most) {
  const auto field = tier.find(key);
  return field ? std::optional(field->integer(1, most)) : std::nullopt;
}

TierKind parse_kind(const JsonField& field) {
  const std::string text = field.string();
  for (const TierKind kind : {TierKind::kLocal, TierKind::kPeer, TierKind::kHost}) {
    if (text == name(kind)) return kind;
  }
  field.unsupported("is not a kind of tier", "known: local, peer, host");
}

LinkFacts parse_link(const JsonField& field) {
  field.expect_only({"kind", "generation", "width"});
  return {.kind = field.at("kind").string(),
          .generation = optional_count(field, "generation", 100),
          .width = optional_count(field, "width", 1000)};
}

// Five numbers a cell: named members would make most of the file names.
std::vector<WindowSample> parse_window_map(const JsonField& field) {
  std::vector<WindowSample> map;
  for (const JsonField& cell : field.items()) {
    const std::vector<JsonField> values = cell.items();
    if (values.size() != 5) {
      cell.corrupt("must be [window bytes, readers, remote GB/s, local GB/s, round trip us]");
    }
    map.push_back({.window_bytes = values[0].integer(1, kMostBytes),
                   .readers = values[1].integer(1, 1 << 20),
                   .remote_bytes_per_s = rate(values[2]),
                   .local_bytes_per_s = rate(values[3]),
                   .round_trip_us = values[4].number(kLeast, kMostMicroseconds)});
  }
  return map;
}

TierProfile parse_tier(const JsonField& field) {
  field.expect_only({"name", "kind", "node", "channel", "capacity_bytes", "read_gb_s",
                     "sustained_gb_s", "write_gb_s", "copy_in_gb_s", "copy_out_gb_s",
                     "idle_round_trip_us", "loaded_round_trip_us", "least_window_bytes",
                     "most_window_bytes", "local_under_load_gb_s", "window_map", "link"});
  TierProfile tier{.name = field.at("name").string(),
                   .kind = parse_kind(field.at("kind")),
                   .channel = field.at("channel").string(),
                   .capacity_bytes = field.at("capacity_bytes").integer(1, kMostBytes),
                   .read_bytes_per_s = rate(field.at("read_gb_s")),
                   .sustained_bytes_per_s = optional_rate(field, "sustained_gb_s"),
                   .write_bytes_per_s = optional_rate(field, "write_gb_s"),
                   .copy_in_bytes_per_s = optional_rate(field, "copy_in_gb_s"),
                   .copy_out_bytes_per_s = optional_rate(field, "copy_out_gb_s"),
                   .idle_round_trip_us = optional_us(field, "idle_round_trip_us"),
                   .loaded_round_trip_us = optional_us(field, "loaded_round_trip_us"),
                   .least_window_bytes = optional_count(field, "least_window_bytes", kMostBytes),
                   .most_window_bytes = optional_count(field, "most_window_bytes", kMostBytes),
                   .local_under_load_bytes_per_s = optional_rate(field, "local_under_load_gb_s"),
                   .window_map = {},
                   .link = std::nullopt};
  if (const auto map = field.find("window_map")) tier.window_map = parse_window_map(*map);
  if (const auto node = field.find("node")) tier.node = static_cast<int>(node->integer(-1, 4096));
  if (const auto link = field.find("link")) tier.link = parse_link(*link);
  if (tier.loaded_round_trip_us &&
      *tier.loaded_round_trip_us < tier.idle_round_trip_us.value_or(0)) {
    field.at("loaded_round_trip_us").corrupt("is less than idle_round_trip_us");
  }
  if (tier.most_window_bytes && *tier.most_window_bytes < tier.least_window_bytes.value_or(0)) {
    field.at("most_window_bytes").corrupt("is less than least_window_bytes");
  }
  return tier;
}

std::vector<TierProfile> parse_tiers(const JsonField& list) {
  std::vector<TierProfile> tiers;
  for (const JsonField& field : list.items()) {
    tiers.push_back(parse_tier(field));
    const TierProfile& tier = tiers.back();
    const bool first = tiers.size() == 1;
    if (first != (tier.kind == TierKind::kLocal)) {
      field.at("kind").corrupt("is out of place", "the first tier, and no other, is local");
    }
    for (size_t i = 0; i + 1 < tiers.size(); ++i) {
      if (tiers[i].name == tier.name) field.at("name").corrupt("names two tiers");
      if (tiers[i].channel == tier.channel && tiers[i].read_bytes_per_s != tier.read_bytes_per_s) {
        field.at("read_gb_s")
            .corrupt(fmt::format("differs from that of {} on the same channel", tiers[i].name));
      }
    }
    const double local =
        std::max(tiers[0].read_bytes_per_s, tiers[0].sustained_bytes_per_s.value_or(0));
    if (tier.local_under_load_bytes_per_s.value_or(0) > local * kMeasurementError) {
      field.at("local_under_load_gb_s").corrupt("is more than the local tier reads alone");
    }
  }
  if (tiers.empty() || tiers.size() > static_cast<size_t>(kMaxTiers)) {
    list.corrupt(fmt::format("must hold 1 to {} tiers", kMaxTiers));
  }
  return tiers;
}

std::vector<NumaNode> parse_numa_nodes(const JsonField& list) {
  std::vector<NumaNode> nodes;
  for (const JsonField& field : list.items()) {
    field.expect_only({"node", "memory_bytes", "nearest", "read_gb_s"});
    nodes.push_back({.node = static_cast<int>(field.at("node").integer(0, 4096)),
                     .memory_bytes = field.at("memory_bytes").integer(0, kMostBytes),
                     .nearest = field.at("nearest").boolean(),
                     .read_bytes_per_s = optional_rate(field, "read_gb_s")});
  }
  return nodes;
}

CpuCosts parse_cpu_costs(const JsonField& field) {
  field.expect_only({"product_local_share", "product_fixed_us", "attention_local_share",
                     "attention_fixed_us", "norm_us", "pass_us"});
  const auto share = [&](std::string_view key) { return field.at(key).number(kLeast, 1); };
  const auto us = [&](std::string_view key) { return field.at(key).number(0, kMostMicroseconds); };
  return {.product_local_share = share("product_local_share"),
          .product_fixed_us = us("product_fixed_us"),
          .attention_local_share = share("attention_local_share"),
          .attention_fixed_us = us("attention_fixed_us"),
          .norm_us = us("norm_us"),
          .pass_us = us("pass_us")};
}

std::map<DType, double> parse_peaks(const JsonField& field) {
  field.expect_only({"f32", "f16", "bf16"});
  std::map<DType, double> peaks;
  for (const DType dtype : {DType::kF32, DType::kF16, DType::kBF16}) {
    const auto peak = field.find(name(dtype));
    if (peak) peaks[dtype] = peak->number(kLeast, kMostTeraflops) * kTera;
  }
  if (!peaks.contains(DType::kBF16)) {
    throw_corrupt(field.where(), field.path() + ".bf16", {}, "is missing");
  }
  return peaks;
}

void check_format(const JsonField& root) {
  const auto format = root.find("format");
  if (!format || !format->value().is_string() || format->string() != kFormat) {
    throw_unsupported(root.where(), "format", format ? format->value_text() : "",
                      fmt::format("is not '{}'", kFormat), "write one with dak probe --output");
  }
  const JsonField version = root.at("version");
  if (!version.value().is_number_integer() || version.value() != kProfileVersion) {
    version.unsupported(fmt::format("is not {}, the version this dak reads", kProfileVersion),
                        "measure again with dak probe");
  }
}

nlohmann::json tier_json(const TierProfile& tier) {
  nlohmann::json json = {
      {"name", tier.name},
      {"kind", name(tier.kind)},
      {"node", tier.node},
      {"channel", tier.channel},
      {"capacity_bytes", tier.capacity_bytes},
      {"read_gb_s", tier.read_bytes_per_s / kGiga},
      {"sustained_gb_s", or_null(tier.sustained_bytes_per_s, kGiga)},
      {"write_gb_s", or_null(tier.write_bytes_per_s, kGiga)},
      {"copy_in_gb_s", or_null(tier.copy_in_bytes_per_s, kGiga)},
      {"copy_out_gb_s", or_null(tier.copy_out_bytes_per_s, kGiga)},
      {"idle_round_trip_us", or_null(tier.idle_round_trip_us)},
      {"loaded_round_trip_us", or_null(tier.loaded_round_trip_us)},
      {"least_window_bytes", or_null(tier.least_window_bytes)},
      {"most_window_bytes", or_null(tier.most_window_bytes)},
      {"local_under_load_gb_s", or_null(tier.local_under_load_bytes_per_s, kGiga)},
      {"link", nullptr}};
  for (const WindowSample& cell : tier.window_map) {
    json["window_map"].push_back({cell.window_bytes, cell.readers, cell.remote_bytes_per_s / kGiga,
                                  cell.local_bytes_per_s / kGiga, cell.round_trip_us});
  }
  if (tier.link) {
    json["link"] = {{"kind", tier.link->kind},
                    {"generation", or_null(tier.link->generation)},
                    {"width", or_null(tier.link->width)}};
  }
  return json;
}

}  // namespace

std::vector<Tier> HardwareProfile::plan_tiers() const {
  std::vector<Tier> plan;
  for (const TierProfile& tier : tiers) {
    plan.push_back({.name = tier.name,
                    .kind = tier.kind,
                    .node = tier.node,
                    .capacity_bytes = tier.capacity_bytes,
                    .read_bytes_per_s = tier.read_bytes_per_s,
                    .channel = tier.channel});
  }
  return plan;
}

double HardwareProfile::peak_of(DType dtype) const {
  const auto own = peak_flops_per_s.find(dtype);
  if (own != peak_flops_per_s.end()) return own->second;
  const auto bf16 = peak_flops_per_s.find(DType::kBF16);
  return bf16 != peak_flops_per_s.end() ? bf16->second : 0;
}

void to_json(nlohmann::json& json, const HardwareProfile& profile) {
  json = {{"format", kFormat},
          {"version", kProfileVersion},
          {"name", profile.name},
          {"device", profile.device},
          {"processor", profile.processor},
          {"uuid", profile.uuid},
          {"driver", profile.driver},
          {"compute_capability", profile.compute_capability},
          {"sm_count", or_null(profile.sm_count)},
          {"sources", profile.sources},
          {"peak_tflops", nlohmann::json::object()},
          {"launch_overhead_us", profile.launch_overhead_us},
          {"launch_overlapped_us", or_null(profile.launch_overlapped_us)},
          {"tiers", nlohmann::json::array()}};
  for (const auto& [dtype, peak] : profile.peak_flops_per_s) {
    json["peak_tflops"][std::string(name(dtype))] = peak / kTera;
  }
  for (const NumaNode& node : profile.numa_nodes) {
    json["numa_nodes"].push_back({{"node", node.node},
                                  {"memory_bytes", node.memory_bytes},
                                  {"nearest", node.nearest},
                                  {"read_gb_s", or_null(node.read_bytes_per_s, kGiga)}});
  }
  if (profile.cpu_costs) {
    const CpuCosts& costs = *profile.cpu_costs;
    json["cpu_costs"] = {{"product_local_share", costs.product_local_share},
                         {"product_fixed_us", costs.product_fixed_us},
                         {"attention_local_share", costs.attention_local_share},
                         {"attention_fixed_us", costs.attention_fixed_us},
                         {"norm_us", costs.norm_us},
                         {"pass_us", costs.pass_us}};
  }
  for (const TierProfile& tier : profile.tiers) json["tiers"].push_back(tier_json(tier));
}

HardwareProfile parse_profile(const nlohmann::json& json, std::string_view where) {
  const JsonField root(json, "", where);
  check_format(root);
  root.expect_only({"format", "version", "name", "device", "processor", "uuid", "driver",
                    "compute_capability", "sm_count", "sources", "peak_tflops",
                    "launch_overhead_us", "launch_overlapped_us", "numa_nodes", "cpu_costs",
                    "tiers"});
  HardwareProfile profile{
      .name = root.at("name").string(),
      .device = root.at("device").string(),
      .processor = root.at("processor").string(),
      .uuid = root.at("uuid").string(),
      .driver = root.at("driver").string(),
      .compute_capability = root.at("compute_capability").string(),
      .sm_count = optional_count(root, "sm_count", 1 << 20),
      .sources = {},
      .peak_flops_per_s = parse_peaks(root.at("peak_tflops")),
      .launch_overhead_us = root.at("launch_overhead_us").number(0, kMostMicroseconds),
      .launch_overlapped_us = optional_us(root, "launch_overlapped_us"),
      .numa_nodes = {},
      .cpu_costs = std::nullopt,
      .tiers = parse_tiers(root.at("tiers"))};
  if (profile.device != "cuda" && profile.device != "cpu") {
    root.at("device").unsupported("is not a kind of device", "known: cuda, cpu");
  }
  if (const auto costs = root.find("cpu_costs")) profile.cpu_costs = parse_cpu_costs(*costs);
  if (const auto nodes = root.find("numa_nodes")) profile.numa_nodes = parse_numa_nodes(*nodes);
  for (const JsonField& source : root.at("sources").items()) {
    profile.sources.push_back(source.string());
  }
  return profile;
}

HardwareProfile load_profile(const std::filesystem::path& path) {
  constexpr int64_t kMostFileBytes = 1 << 20;
  const std::string where = path.string();
  return parse_profile(parse_json(read_text_file(path, kMostFileBytes), where), where);
}

}  // namespace dak
