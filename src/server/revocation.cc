#include "server/revocation.h"

#include <chrono>
#include <future>
#include <nlohmann/json.hpp>

#include "base/seconds.h"
#include "server/request_body.h"

namespace dak {
namespace {

ApiError stopped() { return {503, "the server is shutting down", {}, "unavailable"}; }

// An engine that was given up breaks the promise.
void wait_for(std::future<void>& done, const std::atomic<bool>& stopping) {
  constexpr std::chrono::milliseconds kLook{100};
  while (done.wait_for(kLook) != std::future_status::ready) {
    if (stopping) throw stopped();
  }
  try {
    done.get();
  } catch (const Error& error) {
    // These errors name tiers and bytes, nothing that is private.
    if (error.code() == ErrorCode::kNotFound) throw ApiError(404, error.what(), "tier");
    if (error.code() == ErrorCode::kResourceExhausted) {
      throw ApiError(409, error.what(), "tier", "no_room");
    }
    throw api_error(error);
  } catch (const std::future_error&) {
    throw stopped();
  }
}

OrderedJson tiers_json(const Plan& plan) {
  OrderedJson tiers = OrderedJson::array();
  for (size_t i = 0; i < plan.tiers.size(); ++i) {
    const Tier& tier = plan.tiers[i];
    const auto index = static_cast<TierIndex>(i);
    tiers.push_back({{"name", tier.name},
                     {"kind", name(tier.kind)},
                     {"given_back", i > 0 && tier.capacity_bytes == 0},
                     {"weight_bytes", plan.weight_bytes_in(index)},
                     {"bytes", plan.bytes_in(index)}});
  }
  return tiers;
}

}  // namespace

std::string revoke_tier(const Service& service, std::string_view body,
                        const std::atomic<bool>& stopping) {
  const std::string name = parsed_body<std::string>(body, [](const JsonField& fields) {
    fields.expect_only({"tier"});
    return fields.at("tier").string();
  });
  const auto begin = std::chrono::steady_clock::now();
  std::future<void> done = service.generator().revoke_tier(name);
  wait_for(done, stopping);
  const double seconds = seconds_since(begin);
  return OrderedJson{
      {"tier", name}, {"seconds", seconds}, {"tiers", tiers_json(*service.engine().plan_now())}}
      .dump();
}

}  // namespace dak
