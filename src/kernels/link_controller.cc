#include "kernels/link_controller.h"

#include <array>

#include "kernels/cuda_check.h"
#include "memory/weight_layout.h"

namespace dak {
namespace {

// One chunk for each of 16 readers: below any link's bandwidth-delay product worth having.
constexpr uint32_t kFirstWindowBytes = 128 * 1024;

}  // namespace

LinkController::LinkController() : states_(sizeof(LinkState) * kMaxTiers) { reset(); }

void LinkController::reset() {
  std::array<LinkState, kMaxTiers> fresh{};
  for (LinkState& state : fresh) {
    state.window_bytes = kFirstWindowBytes;
    state.min_window_bytes = kFirstWindowBytes;
    state.min_delay_cycles = UINT32_MAX;
  }
  cuda_check(cudaDeviceSynchronize());
  cuda_check(cudaMemcpy(device_states(), fresh.data(), sizeof(fresh), cudaMemcpyHostToDevice));
}

LinkState LinkController::load(TierIndex tier, cudaStream_t stream) const {
  LinkState state{};
  cuda_check(cudaMemcpyAsync(&state, device_states() + tier, sizeof(state), cudaMemcpyDeviceToHost,
                             stream));
  cuda_check(cudaStreamSynchronize(stream));
  return state;
}

void LinkController::set_fixed_window(TierIndex tier, int64_t window_bytes) {
  cuda_check(cudaDeviceSynchronize());
  LinkState state = load(tier, nullptr);
  state.fixed = window_bytes > 0 ? 1 : 0;
  if (window_bytes > 0) state.window_bytes = static_cast<uint32_t>(window_bytes);
  cuda_check(cudaMemcpy(device_states() + tier, &state, sizeof(state), cudaMemcpyHostToDevice));
}

LinkReading LinkController::read(TierIndex tier, cudaStream_t stream) const {
  const LinkState state = load(tier, stream);
  LinkReading reading{.window_bytes = state.window_bytes,
                      .fixed = state.fixed != 0,
                      .read_bytes = static_cast<int64_t>(state.read_bytes),
                      .updates = state.updates};
  if (state.cycles_per_us > 0) {
    reading.delay_us = static_cast<double>(state.delay_cycles) / state.cycles_per_us;
    if (state.min_delay_cycles != UINT32_MAX) {
      reading.min_delay_us = static_cast<double>(state.min_delay_cycles) / state.cycles_per_us;
    }
  }
  if (state.last_epoch_duration_ns > 0) {
    reading.read_bytes_per_s = static_cast<double>(state.epoch_chunks) * kChunkBytes * 1e9 /
                               static_cast<double>(state.last_epoch_duration_ns);
  }
  return reading;
}

}  // namespace dak
