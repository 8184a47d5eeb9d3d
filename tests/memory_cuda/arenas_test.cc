// On a GPU: its random numbers are the CPU's, bit for bit, in its own memory and in pinned memory.
#include "memory/random_values.h"
#include "support/cuda.h"
#include "support/throws_error.h"

namespace dak {
namespace {

class CudaMemory : public testing::Test {
 protected:
  void SetUp() override {
    if (const std::string reason = test::no_gpu(); !reason.empty()) GTEST_SKIP() << reason;
  }
};

// A multiple of 4 bytes at `at`, wherever that is.
std::vector<std::byte> read_back(test::Gpu& gpu, std::byte* at, int64_t size_bytes) {
  const Tensor words = make_tensor(at, DType::kF32, 1, size_bytes / 4);
  const std::vector<float> values = gpu.values(words);
  std::vector<std::byte> bytes(static_cast<size_t>(size_bytes));
  std::memcpy(bytes.data(), values.data(), bytes.size());
  return bytes;
}

TEST_F(CudaMemory, RandomValuesHaveTheCpusBits) {
  constexpr int64_t kGuard = 64;
  test::Gpu gpu;
  std::vector<std::unique_ptr<Arena>> arenas;
  arenas.push_back(make_device_arena({.name = "local"}, 0, 0));
  arenas.push_back(make_pinned_arena({.name = "host"}, 0, 0));
  for (const auto& arena : arenas) {
    for (const DType dtype : {DType::kF32, DType::kF16, DType::kBF16}) {
      for (const int64_t count : {int64_t{1}, int64_t{7}, int64_t{4096}, int64_t{5'000'003}}) {
        for (const int64_t shift : {int64_t{0}, int64_t{2}}) {  // elements off 16 bytes
          const RandomValues values{.seed = 0x123456789abcdef0u + static_cast<uint64_t>(count),
                                    .first_index = (int64_t{1} << 32) - 100,
                                    .count = count,
                                    .dtype = dtype,
                                    .centre = shift == 0 ? 0.0f : 1.0f,
                                    .half_width = 0.0147f};
          const int64_t begin = bytes_of(dtype, shift);
          const int64_t end = begin + bytes_of(dtype, count);
          const int64_t size = (end + kGuard + 3) / 4 * 4;
          std::vector<std::byte> expected(static_cast<size_t>(size), std::byte{0x5a});
          std::byte* at = arena->allocate(size);
          arena->write(at, expected);
          arena->fill_random(at + begin, values);
          fill_random_cpu(expected.data() + begin, values);
          EXPECT_EQ(read_back(gpu, at, size), expected)
              << arena->tier().name << " " << name(dtype) << " " << count << " + " << shift;
        }
      }
    }
  }
}

void expect_no_peer(int peer, const std::string& reason) {
  EXPECT_TRUE(test::throws_error(ErrorCode::kUnsupported, reason, [&] { open_peer(0, peer); }));
}

TEST_F(CudaMemory, APeerThatCannotBeIsRefused) {
  const int count = static_cast<int>(cuda_devices().size());
  expect_no_peer(0, "tier local");
  expect_no_peer(count, "no such GPU");
  expect_no_peer(-1, "no such GPU");
}

TEST_F(CudaMemory, APeersMemoryIsReadWhereItLies) {
  if (const std::string reason = test::no_peer(); !reason.empty()) GTEST_SKIP() << reason;
  constexpr int64_t kBytes = int64_t{96} << 20;  // more than a slab
  test::Gpu gpu;
  const int64_t free_before = cuda_devices()[1].free_bytes;
  const auto arena = make_peer_arena({.name = "peer:1", .kind = TierKind::kPeer, .node = 1}, 0, 64);
  std::byte* small = arena->allocate(64);
  std::byte* large = arena->allocate(kBytes);
  const std::vector<std::byte> zero(4096);
  EXPECT_EQ(read_back(gpu, small, 64), std::vector<std::byte>(64));
  EXPECT_EQ(read_back(gpu, large + kBytes - 4096, 4096), zero);
  const std::vector<std::byte> written(8192, std::byte{0x5a});
  arena->write(large + 4096, written);
  EXPECT_EQ(read_back(gpu, large + 4096, 8192), written);  // by kernels of GPU 0
  std::vector<std::byte> read(8192);
  arena->read(large + 4096, read);
  EXPECT_EQ(read, written);
  const RandomValues values{.seed = 5, .count = 100'000, .dtype = DType::kBF16, .half_width = 1};
  arena->fill_random(large, values);
  std::vector<std::byte> expected(200'000);
  fill_random_cpu(expected.data(), values);
  EXPECT_EQ(read_back(gpu, large, 200'000), expected);
  EXPECT_LE(cuda_devices()[1].free_bytes, free_before - kBytes);
  arena->release();
  EXPECT_GT(cuda_devices()[1].free_bytes, free_before - kBytes / 2);
  EXPECT_EQ(arena->used_bytes(), 0);
}

TEST_F(CudaMemory, PinsWhatIsExpectedAtOnceAndReportsIt) {
  constexpr int64_t kBytes = int64_t{200} << 20;
  int64_t done = 0;
  const auto arena = make_pinned_arena({.name = "host"}, 0, kBytes, [&](const Progress& progress) {
    EXPECT_EQ(progress.what, "pinning host memory");
    EXPECT_EQ(progress.total_bytes, kBytes);
    done = progress.done_bytes;
  });
  EXPECT_EQ(done, kBytes);
  std::byte* first = arena->allocate(kBytes / 2);
  EXPECT_EQ(arena->allocate(kBytes / 2), first + kBytes / 2);
  EXPECT_EQ(arena->used_bytes(), kBytes);
  EXPECT_EQ(done, kBytes);
  // Past the expected it grows, without a report.
  EXPECT_NE(arena->allocate(1), nullptr);
  EXPECT_EQ(done, kBytes);
}

}  // namespace
}  // namespace dak
