#include "hardware/nvml.h"

#include <gtest/gtest.h>

#include "hardware/cuda_device.h"

namespace dak {
namespace {

const std::string kBusId = "00000000:1B:00.0";

TEST(Nvml, NothingWithoutTheLibrary) {
  EXPECT_FALSE(NvmlDevice::open(kBusId, "libno-such-library.so.1"));
}

TEST(Nvml, NothingWhenTheLibraryIsAnotherOne) {
  EXPECT_FALSE(NvmlDevice::open(kBusId, "libm.so.6"));
}

TEST(Nvml, NothingForAGpuThatIsNotThere) {
  EXPECT_FALSE(NvmlDevice::open("00000000:99:00.0", DAK_FAKE_NVML));
}

TEST(Nvml, AnswersInBaseUnits) {
  const std::optional<NvmlDevice> device = NvmlDevice::open(kBusId, DAK_FAKE_NVML);
  ASSERT_TRUE(device);
  const std::optional<double> before = device->energy_j();
  const std::optional<double> after = device->energy_j();
  ASSERT_TRUE(before && after);
  EXPECT_GT(*before, 5e9);
  EXPECT_NEAR(*after - *before, 1.5, 1e-6);
  EXPECT_EQ(device->sm_clock_mhz(), 1980);
  EXPECT_EQ(device->driver_version(), "580.65.06");
  EXPECT_EQ(device->uuid(), "GPU-1b");
  EXPECT_EQ(device->pcie_generation(), 5);
  EXPECT_EQ(device->nvlink_count(), 2);
  EXPECT_EQ(device->nvlink_version(), 4);
}

TEST(Nvml, AFunctionThatIsMissingOrFailsIsNoAnswer) {
  const std::optional<NvmlDevice> device = NvmlDevice::open(kBusId, DAK_FAKE_NVML);
  ASSERT_TRUE(device);
  EXPECT_FALSE(device->power_w());     // not in the library
  EXPECT_FALSE(device->pcie_width());  // returns an error
}

// On a GPU only.
TEST(Nvml, FindsTheGpuThatCudaMeans) {
  const std::vector<CudaDevice> gpus = cuda_devices();
  if (gpus.empty()) GTEST_SKIP() << no_cuda_reason();
  const std::optional<NvmlDevice> device = NvmlDevice::open(gpus[0].pci_bus_id);
  if (!device) GTEST_SKIP() << "no libnvidia-ml.so.1";
  EXPECT_GT(device->energy_j().value_or(0), 0);
  EXPECT_TRUE(device->driver_version());
}

}  // namespace
}  // namespace dak
