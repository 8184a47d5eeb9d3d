#include "server/state.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "base/seconds.h"
#include "ops/attention.h"

namespace dak {
namespace {

constexpr double kSampleSeconds = 0.9;
constexpr int64_t kContextStep = 256;  // predictions are made for multiples of it

OrderedJson tier_json(const Plan& plan, const ServingStats& stats, size_t index,
                      int64_t read_per_s) {
  const LinkStatus& link = stats.links[index];
  const Tier& tier = plan.tiers[index];
  const auto place = static_cast<TierIndex>(index);
  const int64_t weights = plan.weight_bytes_in(place);
  return {{"name", tier.name},
          {"kind", name(tier.kind)},
          {"channel", tier.channel},
          {"capacity_bytes", tier.capacity_bytes},
          {"given_back", index > 0 && tier.capacity_bytes == 0},
          {"weight_bytes", weights},
          {"kv_bytes", stats.kv_bytes_total[index]},
          {"kv_used_bytes", stats.kv_bytes_used[index]},
          {"other_bytes",
           std::max<int64_t>(0, plan.bytes_in(place) - weights - stats.kv_bytes_total[index])},
          {"read_bytes_per_s", read_per_s},
          {"limit_bytes_per_s", tier.read_bytes_per_s},
          {"window_bytes", link.window_bytes},
          {"delay_us", link.delay_us},
          {"min_delay_us", link.min_delay_us}};
}

}  // namespace

void StateWatch::sample(const ServingStats& stats) {
  const auto now = std::chrono::steady_clock::now();
  const double elapsed = seconds_of(now - sampled_);
  if (elapsed < kSampleSeconds) return;
  if (sampled_ != std::chrono::steady_clock::time_point()) {
    for (size_t i = 0; i < per_second_.read_bytes.size(); ++i) {
      const int64_t bytes = stats.traffic.read_bytes[i] - last_.traffic.read_bytes[i];
      per_second_.read_bytes[i] = static_cast<int64_t>(static_cast<double>(bytes) / elapsed);
    }
  }
  sampled_ = now;
  last_ = stats;
}

double StateWatch::predicted_step(const Service& service, const ServingStats& stats) {
  const auto& predict = service.options().predict;
  const auto batch = static_cast<int64_t>(std::llround(stats.sequences));
  if (!predict || batch == 0 || stats.running == 0) return 0;
  const int64_t used = stats.kv_pages_total - stats.kv_pages_free - stats.kv_pages_cached;
  const int64_t tokens = used * kPageTokens / stats.running;
  const int64_t context = std::clamp((tokens / kContextStep + 1) * kContextStep, int64_t{1},
                                     service.engine().context());
  const std::shared_ptr<const Plan> plan = service.engine().plan_now();
  if (std::pair(batch, context) != predicted_for_ || plan != predicted_plan_) {
    predicted_for_ = {batch, context};
    predicted_plan_ = plan;
    predicted_step_s_ = predict(batch, context);
  }
  return predicted_step_s_;
}

std::string StateWatch::json(const Service& service, const Metrics& metrics, bool draining) {
  const ServingStats stats = service.generator().stats();
  const std::lock_guard lock(mutex_);
  sample(stats);
  const double step = predicted_step(service, stats);
  const double work = stats.engine_seconds + stats.scheduler_seconds;
  OrderedJson tiers = OrderedJson::array();
  const std::shared_ptr<const Plan> plan = service.engine().plan_now();
  for (size_t i = 0; i < plan->tiers.size(); ++i) {
    tiers.push_back(tier_json(*plan, stats, i, per_second_.read_bytes[i]));
  }
  const ToolForm* form = service.forms().tools().form;
  const OrderedJson json{{"model", service.name()},
                         {"status", draining ? "draining" : "ready"},
                         {"context", service.engine().context()},
                         {"tools", std::string(form == nullptr ? "none" : form->name)},
                         {"tiers", std::move(tiers)},
                         {"queued", stats.queued},
                         {"running", stats.running},
                         {"preempted", stats.preempted},
                         {"sequences_per_pass", stats.sequences},
                         {"kv_pages",
                          {{"total", stats.kv_pages_total},
                           {"free", stats.kv_pages_free},
                           {"cached", stats.kv_pages_cached}}},
                         {"tokens_per_s", stats.tokens_per_s},
                         {"prompt_tokens_per_s", stats.prompt_per_s},
                         {"pass_seconds", stats.pass_seconds},
                         {"predicted_step_seconds", step},
                         {"predicted_tokens_per_s", step > 0 ? stats.sequences / step : 0},
                         {"scheduler_share", work > 0 ? stats.scheduler_seconds / work : 0},
                         {"requests",
                          {{"finished", stats.requests_finished},
                           {"failed", stats.requests_failed},
                           {"cancelled", stats.requests_cancelled},
                           {"preemptions", stats.preemptions},
                           {"slow_readers", metrics.slow_readers.load()},
                           {"clients_gone", metrics.clients_gone.load()}}},
                         {"tokens",
                          {{"prompt", stats.prompt_tokens},
                           {"reused", stats.reused_tokens},
                           {"generated", stats.generated_tokens}}}};
  return json.dump(-1, ' ', false, OrderedJson::error_handler_t::replace);
}

namespace {

void print_http(std::string& out, const HttpCounters& http) {
  print_metric(out, "dak_connections", "gauge", "Open connections.",
               {{"", static_cast<double>(http.open)}});
  print_metric(out, "dak_connections_total", "counter", "Connections by what became of them.",
               {{"{what=\"accepted\"}", static_cast<double>(http.accepted)},
                {"{what=\"refused\"}", static_cast<double>(http.refused)},
                {"{what=\"timed_out\"}", static_cast<double>(http.timed_out)},
                {"{what=\"malformed\"}", static_cast<double>(http.malformed)}});
}

void print_engine(std::string& out, const Service& service) {
  const ServingStats stats = service.generator().stats();
  const auto one = [&out](std::string_view name, std::string_view type, std::string_view help,
                          auto value) {
    print_metric(out, name, type, help, {{"", static_cast<double>(value)}});
  };
  one("dak_queued_requests", "gauge", "Requests that have not started.", stats.queued);
  one("dak_running_requests", "gauge", "Requests that have started.", stats.running);
  one("dak_preempted_requests", "gauge", "Running requests that wait for room.", stats.preempted);
  one("dak_preemptions_total", "counter", "Times that a request had to wait.", stats.preemptions);
  one("dak_prompt_tokens_total", "counter", "Tokens of prompts.", stats.prompt_tokens);
  one("dak_reused_tokens_total", "counter", "Tokens of prompts found in the cache.",
      stats.reused_tokens);
  one("dak_generated_tokens_total", "counter", "Tokens generated.", stats.generated_tokens);
  one("dak_passes_total", "counter", "Passes through the model.", stats.passes);
  one("dak_step_recordings_total", "counter", "Decode steps that were recorded, on a GPU.",
      stats.recordings);
  one("dak_engine_seconds_total", "counter", "Time inside passes.", stats.engine_seconds);
  one("dak_scheduler_seconds_total", "counter", "Time between passes while there was work.",
      stats.scheduler_seconds);
  print_metric(out, "dak_requests_ended_total", "counter", "Answers by how they ended.",
               {{"{how=\"finished\"}", static_cast<double>(stats.requests_finished)},
                {"{how=\"failed\"}", static_cast<double>(stats.requests_failed)},
                {"{how=\"cancelled\"}", static_cast<double>(stats.requests_cancelled)}});
  print_metric(
      out, "dak_kv_pages", "gauge", "Pages of the KV cache, of one layer.",
      {{"{state=\"free\"}", static_cast<double>(stats.kv_pages_free)},
       {"{state=\"cached\"}", static_cast<double>(stats.kv_pages_cached)},
       {"{state=\"used\"}",
        static_cast<double>(stats.kv_pages_total - stats.kv_pages_free - stats.kv_pages_cached)}});
  std::vector<std::pair<std::string, double>> held, read;
  const std::shared_ptr<const Plan> shared = service.engine().plan_now();
  const Plan& plan = *shared;
  for (size_t i = 0; i < plan.tiers.size(); ++i) {
    const std::string& tier = plan.tiers[i].name;
    const auto add = [&](std::string_view what, int64_t bytes) {
      held.emplace_back(fmt::format("{{tier=\"{}\",what=\"{}\"}}", tier, what),
                        static_cast<double>(bytes));
    };
    add("weights", plan.weight_bytes_in(static_cast<TierIndex>(i)));
    add("kv", stats.kv_bytes_total[i]);
    add("kv_used", stats.kv_bytes_used[i]);
    read.emplace_back(fmt::format("{{tier=\"{}\"}}", tier),
                      static_cast<double>(stats.traffic.read_bytes[i]));
  }
  print_metric(out, "dak_tier_bytes", "gauge", "Bytes that lie in a tier.", held);
  print_metric(out, "dak_tier_read_bytes_total", "counter", "Bytes read from a tier.", read);
}

}  // namespace

std::string metrics_text(const Service* service, const Metrics& metrics,
                         const std::optional<HttpCounters>& http) {
  std::string out;
  std::vector<std::pair<std::string, double>> requests;
  for (const auto& [key, count] : metrics.requests()) {
    requests.emplace_back(fmt::format("{{route=\"{}\",code=\"{}\"}}", key.first, key.second),
                          static_cast<double>(count));
  }
  print_metric(out, "dak_http_requests_total", "counter",
               "Answers by route and status; 499: the client left.", requests);
  metrics.first_token.print(out, "dak_time_to_first_token_seconds",
                            "From a request's last byte to its first token.");
  metrics.between_tokens.print(out, "dak_inter_token_seconds", "Between an answer's tokens.");
  metrics.whole.print(out, "dak_request_seconds",
                      "From a request's last byte to the answer's end.");
  metrics.delivery.print(out, "dak_token_delivery_seconds",
                         "From a token's choice to its bytes being given to the socket.");
  print_metric(out, "dak_slow_readers_total", "counter",
               "Streams ended because the client did not read.",
               {{"", static_cast<double>(metrics.slow_readers.load())}});
  if (http) print_http(out, *http);
  if (service != nullptr) print_engine(out, *service);
  return out;
}

}  // namespace dak
