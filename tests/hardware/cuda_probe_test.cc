// On a GPU; skipped where there is none.
#include "hardware/cuda_probe.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "base/error.h"
#include "hardware/cuda_device.h"

namespace dak {
namespace {

TEST(CudaProbe, FiguresFitTogether) {
  const std::vector<CudaDevice> gpus = cuda_devices();
  if (gpus.empty() || !gpus[0].unusable.empty()) GTEST_SKIP() << no_cuda_reason();
  double last = -1;
  const HardwareProfile profile = probe_cuda(0, [&last](const std::string&, double share) {
    EXPECT_GE(share, last);
    EXPECT_LE(share, 1);
    last = share;
  });
  EXPECT_GT(last, 0.3);
  const TierProfile& local = profile.tiers.at(0);
  const TierProfile& host = profile.tiers.at(1);
  // A pass has a start and an end; a sustained stream has none. Neither passes through a cache.
  EXPECT_GT(*local.sustained_bytes_per_s, 0.97 * local.read_bytes_per_s);
  EXPECT_LT(*local.sustained_bytes_per_s, 1.10 * local.read_bytes_per_s);
  EXPECT_LT(*host.local_under_load_bytes_per_s, 1.03 * *local.sustained_bytes_per_s);
  // Full in the largest window, whoever reads.
  const auto fullest = std::ranges::max_element(host.window_map, {}, &WindowSample::window_bytes);
  EXPECT_NEAR(fullest->remote_bytes_per_s / host.read_bytes_per_s, 1, 0.05);
  // Little's law: what is in flight is rate times round trip.
  for (const WindowSample& cell : host.window_map) {
    const double in_flight = cell.remote_bytes_per_s * cell.round_trip_us * 1e-6;
    EXPECT_NEAR(in_flight / static_cast<double>(cell.window_bytes), 1, 0.15)
        << cell.window_bytes << " by " << cell.readers;
  }
  EXPECT_GE(*host.loaded_round_trip_us, *host.idle_round_trip_us);
  EXPECT_GT(*host.copy_in_bytes_per_s, 0.8 * host.read_bytes_per_s);
  EXPECT_GT(profile.launch_overhead_us, 0.1);
}

TEST(CudaProbe, CanBeCancelled) {
  const std::vector<CudaDevice> gpus = cuda_devices();
  if (gpus.empty() || !gpus[0].unusable.empty()) GTEST_SKIP() << no_cuda_reason();
  struct Stop {};
  int calls = 0;
  const auto stop = [&calls](const std::string&, double) {
    if (++calls == 4) throw Stop();
  };
  EXPECT_THROW(probe_cuda(0, stop), Stop);
  EXPECT_NO_THROW(probe_cuda(0, {}));  // nothing was left behind
}

}  // namespace
}  // namespace dak
