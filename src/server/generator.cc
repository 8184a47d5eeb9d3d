#include "server/generator.h"

namespace dak {
namespace {

// A look waits for the GPU, so that steps cannot be enqueued ahead meanwhile: only while somebody
// watches, and not often.
constexpr auto kWatched = std::chrono::seconds(3);
constexpr auto kBetweenLooks = std::chrono::seconds(1);

}  // namespace

RequestId SchedulerGenerator::submit(ServingRequest request) {
  if (engine_.cuda() != nullptr) {
    request.on_event = [this, told = std::move(request.on_event)](const ServingEvent& event) {
      told(event);
      look_at_links();
    };
  }
  return scheduler_.submit(std::move(request));
}

std::vector<LinkStatus> SchedulerGenerator::links() {
  wanted_until_ = Clock::now() + kWatched;
  const std::lock_guard lock(mutex_);
  return links_;
}

// On the engine's thread: only there may the backend be asked.
void SchedulerGenerator::look_at_links() {
  const Clock::time_point now = Clock::now();
  if (now > wanted_until_.load() || now - looked_ < kBetweenLooks) return;
  looked_ = now;
  std::vector<LinkStatus> links;
  for (size_t tier = 0; tier < engine_.plan().tiers.size(); ++tier) {
    links.push_back(link_status(*engine_.cuda(), static_cast<TierIndex>(tier)));
  }
  const std::lock_guard lock(mutex_);
  links_ = std::move(links);
}

}  // namespace dak
