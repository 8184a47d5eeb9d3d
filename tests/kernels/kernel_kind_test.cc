// Which kernels a build has for a GPU. Needs no GPU.
#include "kernels/kernel_kind.h"

#include <gtest/gtest.h>

#include "base/error.h"
#include "support/throws_error.h"

namespace dak {
namespace {

struct Expected {
  const char* architectures;
  ComputeCapability gpu;
  bool tma;
  bool plain;
  std::vector<std::string> missing;  // parts of the reason
};

class Support : public testing::TestWithParam<Expected> {};

TEST_P(Support, IsWhatTheCodeRunsOn) {
  const Expected& expected = GetParam();
  const KernelSupport support = kernel_support(expected.architectures, expected.gpu);
  EXPECT_EQ(support.tma, expected.tma);
  EXPECT_EQ(support.plain, expected.plain);
  EXPECT_EQ(support.missing.empty(), support.tma && support.plain) << support.missing;
  for (const std::string& part : expected.missing) {
    EXPECT_NE(support.missing.find(part), std::string::npos)
        << part << " not in: " << support.missing;
  }
}

INSTANTIATE_TEST_SUITE_P(
    Table, Support,
    testing::ValuesIn(std::vector<Expected>{
        {"90a", {9, 0}, true, true, {}},
        {"80,90a", {9, 0}, true, true, {}},
        {"90,90a", {9, 0}, true, true, {}},
        // Other GPUs, with code for them.
        {"80,90a", {8, 0}, false, true, {"9.0", "8.0"}},
        {"80,90a", {8, 9}, false, true, {"9.0", "8.9"}},
        {"80,86", {8, 6}, false, true, {"8.6"}},
        {"120", {12, 0}, false, true, {"12.0"}},
        {"100a", {10, 0}, false, true, {"10.0"}},
        // Code for something else: what there is, and what to build.
        {"90a", {8, 0}, false, false, {"sm_90a", "-DDAK_CUDA_ARCHITECTURES=80"}},
        {"86,90a", {8, 0}, false, false, {"sm_86, sm_90a", "-DDAK_CUDA_ARCHITECTURES=80"}},
        {"80,90a", {12, 0}, false, false, {"sm_80, sm_90a", "-DDAK_CUDA_ARCHITECTURES=120"}},
        {"100a", {10, 3}, false, false, {"sm_100a", "-DDAK_CUDA_ARCHITECTURES=103"}},
        {"80", {9, 0}, false, false, {"sm_80", "-DDAK_CUDA_ARCHITECTURES=90a"}},
        // A Hopper GPU without the code of its own.
        {"90", {9, 0}, false, true, {"sm_90", "-DDAK_CUDA_ARCHITECTURES=90a"}},
        // Too old, whatever is built.
        {"75,80", {7, 5}, false, false, {"7.5", "8.0"}},
        {"", {8, 0}, false, false, {}},
    }));

void expect_refused(KernelKind asked, const KernelSupport& support) {
  EXPECT_TRUE(test::throws_error(ErrorCode::kUnsupported,
                                 {"--kernels", name(asked), support.missing},
                                 [&] { choose_kernels(asked, support); }));
}

TEST(ChooseKernels, TakesTheBestUnlessAsked) {
  const KernelSupport hopper{.tma = true, .plain = true, .missing = {}};
  EXPECT_EQ(choose_kernels(KernelKind::kAuto, hopper), KernelKind::kTma);
  EXPECT_EQ(choose_kernels(KernelKind::kTma, hopper), KernelKind::kTma);
  EXPECT_EQ(choose_kernels(KernelKind::kPlain, hopper), KernelKind::kPlain);
  const KernelSupport ampere{.tma = false, .plain = true, .missing = "no TMA here"};
  EXPECT_EQ(choose_kernels(KernelKind::kAuto, ampere), KernelKind::kPlain);
  EXPECT_EQ(choose_kernels(KernelKind::kPlain, ampere), KernelKind::kPlain);
  expect_refused(KernelKind::kTma, ampere);
}

TEST(ChooseKernels, RefusesWhatIsNotBuilt) {
  const KernelSupport none{.tma = false, .plain = false, .missing = "built for others"};
  for (const KernelKind kind : {KernelKind::kAuto, KernelKind::kTma, KernelKind::kPlain}) {
    expect_refused(kind, none);
  }
}

TEST(ParseKernelKind, ReadsItsOwnNames) {
  for (const KernelKind kind : {KernelKind::kAuto, KernelKind::kTma, KernelKind::kPlain}) {
    EXPECT_EQ(parse_kernel_kind(name(kind), "--kernels"), kind);
  }
  EXPECT_TRUE(
      test::throws_error(ErrorCode::kInvalidArgument,
                         "--kernels: 'wgmma': are no kernels of dak; use auto, tma or plain",
                         [&] { parse_kernel_kind("wgmma", "--kernels"); }));
  EXPECT_TRUE(test::throws_error(ErrorCode::kInvalidArgument, "--kernels: are no kernels of dak",
                                 [&] { parse_kernel_kind("", "--kernels"); }));
}

}  // namespace
}  // namespace dak
