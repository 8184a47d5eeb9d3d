// Which device and which kernels a run gets, on this machine and on made-up ones.
#include "engine/device.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "base/error.h"
#include "support/throws_error.h"

namespace dak {
namespace {

CudaDevice gpu(int ordinal, const std::string& name, ComputeCapability capability,
               const char* architectures = "80,90a") {
  CudaDevice device{.ordinal = ordinal, .name = name};
  device.kernels = kernel_support(architectures, capability);
  if (!device.kernels.plain) device.unusable = device.kernels.missing;
  return device;
}

const CudaDevice kH200 = gpu(0, "H200", {9, 0});
const CudaDevice kA100 = gpu(0, "A100", {8, 0});
const CudaDevice kV100 = gpu(0, "V100", {7, 0});

CudaDevice at(int ordinal, CudaDevice device) {
  device.ordinal = ordinal;
  return device;
}

bool has(const std::string& text, std::string_view part) {
  return text.find(part) != std::string::npos;
}

template <typename Call>
void expect_refusal(ErrorCode code, const std::vector<std::string>& parts, const Call& call) {
  EXPECT_TRUE(test::throws_error(code, parts, call));
}

TEST(SelectDevice, TheCpuOnRequestIsNotCommented) {
  for (const auto& devices : {std::vector<CudaDevice>{}, {kH200}}) {
    const DeviceSelection cpu = select_device("cpu", KernelKind::kAuto, devices);
    EXPECT_EQ(cpu.device.backend, Backend::kCpu);
    EXPECT_EQ(cpu.note, "");
  }
}

TEST(SelectDevice, AutoTakesTheFirstUsableGpuAndSaysSo) {
  for (const char* text : {"auto", ""}) {
    const DeviceSelection chosen =
        select_device(text, KernelKind::kAuto, {kV100, at(1, kH200), at(2, kH200)});
    EXPECT_EQ(chosen.device.backend, Backend::kCuda);
    EXPECT_EQ(chosen.device.ordinal, 1);
    EXPECT_EQ(chosen.device.kernels, KernelKind::kTma);
    EXPECT_EQ(chosen.note, "using H200 (cuda:1)");
  }
}

TEST(SelectDevice, AutoFallsBackToTheCpuAndSaysWhy) {
  const DeviceSelection old = select_device("auto", KernelKind::kAuto, {kV100});
  EXPECT_EQ(old.device.backend, Backend::kCpu);
  EXPECT_TRUE(has(old.note, "using the CPU: V100 cannot be used") && has(old.note, "7.0"))
      << old.note;
  // A GPU that another build would run on: which is said.
  const DeviceSelection other =
      select_device("auto", KernelKind::kAuto, {gpu(0, "A100", {8, 0}, "90a")});
  EXPECT_EQ(other.device.backend, Backend::kCpu);
  EXPECT_TRUE(has(other.note, "sm_90a") && has(other.note, "-DDAK_CUDA_ARCHITECTURES=80"))
      << other.note;
}

TEST(SelectDevice, PlainKernelsThatNobodyAskedForAreSaidWithTheirCost) {
  for (const char* text : {"auto", "cuda"}) {
    const DeviceSelection chosen = select_device(text, KernelKind::kAuto, {kA100});
    EXPECT_EQ(chosen.device.kernels, KernelKind::kPlain);
    for (const char* part : {"A100", "plain loads", "8.0", "window", "tensor cores"}) {
      EXPECT_TRUE(has(chosen.note, part)) << chosen.note;
    }
    EXPECT_FALSE(has(chosen.note, "\n"));
  }
  const DeviceSelection asked = select_device("cuda", KernelKind::kPlain, {kH200});
  EXPECT_EQ(asked.device.kernels, KernelKind::kPlain);
  EXPECT_EQ(asked.note, "");
}

TEST(SelectDevice, TheKernelsAskedForChooseTheGpu) {
  const DeviceSelection chosen = select_device("auto", KernelKind::kTma, {kA100, at(1, kH200)});
  EXPECT_EQ(chosen.device.ordinal, 1);
  EXPECT_EQ(chosen.device.kernels, KernelKind::kTma);
  for (const char* text : {"auto", "cuda:0"}) {
    expect_refusal(ErrorCode::kUnsupported, {"--kernels", "tma", "8.0", "--kernels plain"},
                   [&] { select_device(text, KernelKind::kTma, {kA100}); });
  }
}

TEST(SelectDevice, KernelsAreOfAGpu) {
  for (const KernelKind kernels : {KernelKind::kTma, KernelKind::kPlain}) {
    const std::string text(name(kernels));
    expect_refusal(ErrorCode::kUnsupported, {"--kernels", text, "CPU"},
                   [&] { select_device("cpu", kernels, {kH200}); });
    expect_refusal(ErrorCode::kUnsupported, {"--kernels", text, "no GPU"},
                   [&] { select_device("auto", kernels, {}); });
    expect_refusal(ErrorCode::kUnsupported, {"--kernels", text, "no GPU", "V100", "7.0"},
                   [&] { select_device("auto", kernels, {kV100}); });
  }
}

TEST(SelectDevice, RefusesWhatIsNoDevice) {
  for (const char* text : {"tpu", "cuda:x", "cuda:-1", "cudas"}) {
    expect_refusal(ErrorCode::kInvalidArgument, {"--device", text},
                   [&] { select_device(text, KernelKind::kAuto, {kH200}); });
  }
  expect_refusal(ErrorCode::kUnsupported, {"--device", "cuda:1", "cuda:0"},
                 [] { select_device("cuda:1", KernelKind::kAuto, {kH200}); });
  expect_refusal(ErrorCode::kUnsupported, {"--device", "cuda", "V100", "7.0"},
                 [] { select_device("cuda", KernelKind::kAuto, {kV100}); });
}

// Whatever this machine has.
TEST(SelectDevice, OfThisMachineIsOneLine) {
  const std::vector<CudaDevice> devices = cuda_devices();
  const bool usable =
      std::ranges::any_of(devices, [](const CudaDevice& d) { return d.unusable.empty(); });
  const DeviceSelection chosen = select_device("auto");
  EXPECT_EQ(chosen.device.backend, usable ? Backend::kCuda : Backend::kCpu);
  EXPECT_EQ(chosen.note.rfind("using ", 0), 0U) << chosen.note;
  EXPECT_FALSE(has(chosen.note, "\n")) << chosen.note;
  if (devices.empty()) {
    ASSERT_NE(no_cuda_reason(), "");
    EXPECT_EQ(chosen.note, "using the CPU: " + no_cuda_reason());
  }
}

}  // namespace
}  // namespace dak
