// Giving a remote tier back while its engine goes on.
#include <algorithm>

#include "base/units.h"
#include "engine/engine.h"
#include "hardware/memory_info.h"

namespace dak {
namespace {

[[noreturn]] void throw_no_room(const std::string& name, int64_t need, const std::string& rooms) {
  throw Error(
      ErrorCode::kResourceExhausted,
      {.where = "tier " + name,
       .field = {},
       .value = {},
       .problem = fmt::format("cannot be given back: {} lie there, and no other remote tier "
                              "has room ({})",
                              format_bytes(need), rooms),
       .fix = "start with a larger size for another tier in --tiers"});
}

// The plan as it is once all of `from` is in `to`.
void replan(Plan& plan, TierIndex from, TierIndex to) {
  for (OperandPlan& entry : plan.operands) {
    for (TierSpan& span : entry.spans) {
      if (span.tier == from) span.tier = to;
    }
  }
  plan.fixed.kv_remote_bytes[to] += plan.fixed.kv_remote_bytes[from];
  plan.fixed.kv_remote_bytes[from] = 0;
}

}  // namespace

TierIndex Engine::remote_tier_named(std::string_view name) const {
  std::string others;
  for (size_t i = 1; i < plan_.tiers.size(); ++i) {
    if (plan_.tiers[i].name == name) return static_cast<TierIndex>(i);
    others += (others.empty() ? "" : ", ") + plan_.tiers[i].name;
  }
  throw Error(ErrorCode::kNotFound,
              {.where = "tiers",
               .field = {},
               .value = std::string(name),
               .problem = "is no remote tier of this engine",
               .fix = others.empty() ? "there is none" : "there are " + others});
}

// The fastest of the others with room for `need` bytes.
TierIndex Engine::tier_to_take(TierIndex from, int64_t need) const {
  std::string rooms;
  for (size_t index = 1; index < plan_.tiers.size(); ++index) {
    const auto i = static_cast<TierIndex>(index);
    const Tier& tier = plan_.tiers[i];
    if (i == from || tier.capacity_bytes == 0) continue;  // 0: it was given back itself
    int64_t room = tier.capacity_bytes - weights_->arena(i).used_bytes();
    // Until the tier is empty its bytes are there twice.
    if (tier.kind == TierKind::kHost) room = std::min(room, available_memory_bytes());
    if (room >= need) return i;
    rooms += fmt::format("{}{} {}", rooms.empty() ? "" : ", ", tier.name,
                         format_bytes(std::max<int64_t>(0, room)));
  }
  throw_no_room(plan_.tiers[from].name, need, rooms.empty() ? "there is none" : rooms);
}

void Engine::revoke_tier(std::string_view name) {
  const TierIndex from = remote_tier_named(name);
  if (plan_.prefetch.total_bytes() > 0 || plan_.fixed.kv_buffer_bytes > 0 ||
      plan_.fixed.uva_bytes > 0) {
    throw_unsupported(fmt::format("tier {}", name), {}, {},
                      "cannot be given back in modes prefetch and uva, whose copies know addresses",
                      "use --mode direct");
  }
  if (steps_in_flight_ > 0) {
    throw_invalid(fmt::format("tier {}", name), {}, {},
                  "cannot be given back while a step is in flight", "use revoke_tier_soon");
  }
  const int64_t weight_bytes = weights_->bytes_to_move(from);
  const int64_t kv_bytes = cache_->bytes_to_move(from);
  if (weight_bytes + kv_bytes > 0) {
    const TierIndex to = tier_to_take(from, weight_bytes + kv_bytes);
    std::byte* room = weights_->arena(to).allocate(weight_bytes + kv_bytes);
    // From here on nothing fails for want of room.
    if (cuda_ != nullptr) forget_weights(*cuda_);
    weights_->move_tier(from, to, room);
    cache_->move_tier(from, to, room + weight_bytes);
    replan(plan_, from, to);
  }
  plan_.tiers[from].capacity_bytes = 0;
  publish_plan();
  weights_->arena(from).release();
}

void Engine::publish_plan() {
  auto copy = std::make_shared<const Plan>(plan_);
  const std::lock_guard lock(plan_mutex_);
  plan_now_ = std::move(copy);
}

std::shared_ptr<const Plan> Engine::plan_now() const {
  const std::lock_guard lock(plan_mutex_);
  return plan_now_;
}

std::future<void> Engine::revoke_tier_soon(std::string name) {
  const std::lock_guard lock(revoke_mutex_);
  revokes_.push_back({.name = std::move(name), .done = {}});
  revoke_wanted_ = true;
  return revokes_.back().done.get_future();
}

// Between two steps.
void Engine::take_revokes() {
  if (!revoke_wanted_ || steps_in_flight_ > 0) return;
  for (Revoke& revoke : pending_revokes()) {
    try {
      revoke_tier(revoke.name);
      revoke.done.set_value();
    } catch (...) {  // for who asked; the engine goes on
      revoke.done.set_exception(std::current_exception());
    }
  }
}

void Engine::refuse_revokes(const Error& error) {
  for (Revoke& revoke : pending_revokes()) {
    revoke.done.set_exception(std::make_exception_ptr(error));
  }
}

// Moved out, so that another thread that asks for one does not wait for those.
std::vector<Engine::Revoke> Engine::pending_revokes() {
  const std::lock_guard lock(revoke_mutex_);
  revoke_wanted_ = false;
  return std::exchange(revokes_, {});
}

}  // namespace dak
