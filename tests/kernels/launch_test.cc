// The launcher, without a GPU: a stand-in for the CUDA runtime of two GPUs, each of which refuses
// what it was not told to allow, as real ones do. What one GPU of a process was told is nothing to
// the other.
#include "kernels/launch.h"

#include <gtest/gtest.h>

#include <map>
#include <thread>
#include <utility>
#include <vector>

#include "support/throws_error.h"

namespace {

constexpr int kUsualSharedBytes = 48 * 1024;
constexpr unsigned kUsualCluster = 8;

struct Gpu {
  struct Attributes {
    int shared_bytes = kUsualSharedBytes;
    bool large_clusters = false;
  };
  std::map<const void*, Attributes> kernels;
  int told = 0;      // attributes that were set
  int launched = 0;  // kernels that ran
  bool deaf = false;
};

thread_local int current = 0;
std::vector<Gpu> gpus;

unsigned cluster_of(const cudaLaunchConfig_t& config) {
  for (unsigned i = 0; i < config.numAttrs; ++i) {
    if (config.attrs[i].id == cudaLaunchAttributeClusterDimension) {
      return config.attrs[i].val.clusterDim.x;
    }
  }
  return 0;
}

bool runs(const cudaLaunchConfig_t& config, const void* kernel) {
  const Gpu::Attributes& allowed = gpus.at(static_cast<size_t>(current)).kernels[kernel];
  return config.dynamicSmemBytes <= static_cast<size_t>(allowed.shared_bytes) &&
         (cluster_of(config) <= kUsualCluster || allowed.large_clusters);
}

}  // namespace

cudaError_t cudaGetDevice(int* ordinal) {
  *ordinal = current;
  return cudaSuccess;
}
cudaError_t cudaFuncSetAttribute(const void* kernel, cudaFuncAttribute attribute, int value) {
  Gpu& gpu = gpus.at(static_cast<size_t>(current));
  if (gpu.deaf) return cudaErrorInvalidValue;
  ++gpu.told;
  Gpu::Attributes& allowed = gpu.kernels[kernel];
  if (attribute == cudaFuncAttributeMaxDynamicSharedMemorySize) allowed.shared_bytes = value;
  if (attribute == cudaFuncAttributeNonPortableClusterSizeAllowed) {
    allowed.large_clusters = value != 0;
  }
  return cudaSuccess;
}
cudaError_t cudaLaunchKernelExC(const cudaLaunchConfig_t* config, const void* kernel, void**) {
  if (!runs(*config, kernel)) return cudaErrorInvalidValue;
  ++gpus.at(static_cast<size_t>(current)).launched;
  return cudaSuccess;
}
cudaError_t cudaOccupancyMaxActiveClusters(int* clusters, const void* kernel,
                                           const cudaLaunchConfig_t* config) {
  if (!runs(*config, kernel) || config->gridDim.x % cluster_of(*config) != 0) {
    return cudaErrorInvalidValue;
  }
  *clusters = static_cast<int>(128 / cluster_of(*config));
  return cudaSuccess;
}

namespace dak {

void cuda_check(cudaError_t status, CallSite) {
  if (status == cudaSuccess) return;
  throw Error(ErrorCode::kIo, {.problem = "CUDA error " + std::to_string(status)});
}
bool launches_overlap() { return true; }

namespace {

using test::throws_error;

constexpr LaunchShape kLarge{.blocks = 4, .threads = 32, .shared_bytes = 200 * 1024};

// What the launcher knows of kernels is the process's: each test has kernels of its own, none run.
template <int kTest>
void kernel(int) {}

class Launcher : public testing::Test {
 protected:
  Launcher() { gpus.assign(2, {}); }
  ~Launcher() override { current = 0; }

  template <int kTest>
  static void launch_on(int ordinal, const LaunchShape& shape) {
    current = ordinal;
    launch(kernel<kTest>, 0, shape, nullptr);
  }
  template <int kTest>
  static int clusters_on(int ordinal, const LaunchShape& shape) {
    current = ordinal;
    return most_clusters(reinterpret_cast<const void*>(kernel<kTest>), shape);
  }
};

TEST_F(Launcher, EachGpuOfAProcessIsToldOnce) {
  for (int round = 0; round < 3; ++round) {
    for (const int ordinal : {0, 1}) launch_on<1>(ordinal, kLarge);
  }
  for (const Gpu& gpu : gpus) {
    EXPECT_EQ(gpu.launched, 3);
    EXPECT_EQ(gpu.told, 1);
  }
}

TEST_F(Launcher, LargeClustersAreAllowedByGpu) {
  LaunchShape shape = kLarge;
  shape.cluster_size = 16;
  for (const int ordinal : {1, 0}) {
    EXPECT_EQ(clusters_on<2>(ordinal, shape), 8);
    launch_on<2>(ordinal, shape);
    EXPECT_EQ(gpus[static_cast<size_t>(ordinal)].told, 2);
  }
  shape.cluster_size = 4;
  EXPECT_EQ(clusters_on<3>(0, shape), 32);
  EXPECT_FALSE(gpus[0].kernels[reinterpret_cast<const void*>(kernel<3>)].large_clusters);
}

TEST_F(Launcher, WhatIsAllowedGrowsAndNeverShrinks) {
  for (const size_t kib : {60, 200, 60, 1, 0}) {
    launch_on<4>(0, {.threads = 32, .shared_bytes = kib * 1024});
  }
  EXPECT_EQ(gpus[0].kernels[reinterpret_cast<const void*>(kernel<4>)].shared_bytes, 200 * 1024);
  EXPECT_EQ(gpus[0].launched, 5);
}

TEST_F(Launcher, AnotherKernelIsToldToo) {
  launch_on<5>(0, kLarge);
  launch_on<6>(0, kLarge);
  EXPECT_EQ(gpus[0].told, 2);
}

TEST_F(Launcher, ARefusalIsNotRemembered) {
  gpus[0].deaf = true;
  EXPECT_TRUE(throws_error(ErrorCode::kIo, "CUDA error 1", [] { launch_on<7>(0, kLarge); }));
  EXPECT_EQ(gpus[0].launched, 0);
  gpus[0].deaf = false;
  launch_on<7>(0, kLarge);
  EXPECT_EQ(gpus[0].launched, 1);
}

TEST_F(Launcher, ThreadsOfTwoGpusLaunchOneKernel) {
  std::vector<std::thread> threads;
  for (const int ordinal : {0, 1}) {
    threads.emplace_back([ordinal] {
      for (int i = 0; i < 1000; ++i) launch_on<8>(ordinal, kLarge);
    });
  }
  for (std::thread& thread : threads) thread.join();
  for (const Gpu& gpu : gpus) EXPECT_EQ(gpu.launched, 1000);
}

}  // namespace
}  // namespace dak
