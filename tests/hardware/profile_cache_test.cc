#include "hardware/profile_cache.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <fstream>

#include "base/error.h"
#include "base/file.h"
#include "hardware/presets.h"
#include "support/throws_error.h"

namespace dak {
namespace {

namespace fs = std::filesystem;

// The user's cache is left alone.
class ProfileCache : public testing::Test {
 protected:
  ProfileCache() {
    folder_ = fs::path(testing::TempDir()) / "dak_profile_cache";
    fs::remove_all(folder_);
    setenv("XDG_CACHE_HOME", folder_.c_str(), 1);
    profile_ = hardware_named("h100");
    profile_.uuid = "GPU-1234-abcd";
    profile_.driver = "580.65.06";
    key_ = {.device = "cuda",
            .processor = profile_.processor,
            .uuid = profile_.uuid,
            .driver = profile_.driver};
  }
  ~ProfileCache() override { fs::remove_all(folder_); }

  fs::path folder_;
  HardwareProfile profile_;
  ProfileKey key_;
};

TEST_F(ProfileCache, NothingIsThereAtFirst) {
  const CachedProfile found = load_cached_profile(key_);
  EXPECT_FALSE(found.profile);
  EXPECT_EQ(found.note, "");
}

TEST_F(ProfileCache, WhatWasSavedIsFoundAgain) {
  save_profile(profile_, profile_cache_file(key_));
  const CachedProfile found = load_cached_profile(key_);
  ASSERT_TRUE(found.profile) << found.note;
  EXPECT_EQ(found.profile->uuid, profile_.uuid);
  EXPECT_EQ(profile_cache_file(key_).filename(), "cuda-gpu-1234-abcd.json");
  EXPECT_FALSE(fs::exists(profile_cache_file(key_).string() + ".part"));
}

TEST_F(ProfileCache, AnotherDriverGpuOrProcessorIsSaidAndIgnored) {
  const fs::path file = profile_cache_file(key_);
  save_profile(profile_, file);
  ProfileKey newer = key_;
  newer.driver = "590.1";
  CachedProfile found = load_cached_profile(newer);
  EXPECT_FALSE(found.profile);
  for (const char* part : {"driver", "580.65.06", "590.1", file.c_str()}) {
    EXPECT_NE(found.note.find(part), std::string::npos) << found.note;
  }
  profile_.uuid = "GPU-of-another-machine";
  save_profile(profile_, file);
  found = load_cached_profile(key_);
  EXPECT_FALSE(found.profile);
  EXPECT_NE(found.note.find("GPU-of-another-machine"), std::string::npos) << found.note;
}

TEST_F(ProfileCache, TheCpuIsKnownByItsNameAndThreads) {
  HardwareProfile cpu = profile_;
  cpu.device = "cpu";
  cpu.uuid = cpu.driver = "";
  cpu.processor = "An Abacus (R) 9000";
  cpu.sm_count = 4;
  ProfileKey key{
      .device = "cpu", .processor = cpu.processor, .uuid = {}, .driver = {}, .threads = 4};
  const fs::path file = profile_cache_file(key);
  EXPECT_EQ(file.filename(), "cpu-an-abacus-r-9000-4-threads.json");
  save_profile(cpu, file);
  EXPECT_TRUE(load_cached_profile(key).profile);
  // Each number of threads has its own.
  key.threads = 8;
  EXPECT_FALSE(load_cached_profile(key).profile);
  EXPECT_EQ(load_cached_profile(key).note, "");
  fs::rename(file, profile_cache_file(key));
  EXPECT_NE(load_cached_profile(key).note.find("4 threads, not 8"), std::string::npos);
}

TEST_F(ProfileCache, AnotherVersionIsSaidAndIgnored) {
  const fs::path file = profile_cache_file(key_);
  save_profile(profile_, file);
  std::string text = read_text_file(file);
  const std::string version = "\"version\": 2";
  ASSERT_NE(text.find(version), std::string::npos);
  text.replace(text.find(version), version.size(), "\"version\": 1");
  write_text_file(file, text);
  const CachedProfile found = load_cached_profile(key_);
  EXPECT_FALSE(found.profile);
  EXPECT_NE(found.note.find("version"), std::string::npos) << found.note;
}

TEST_F(ProfileCache, ADamagedFileIsSaidAndIgnored) {
  const fs::path file = profile_cache_file(key_);
  save_profile(profile_, file);
  fs::resize_file(file, 100);
  const CachedProfile found = load_cached_profile(key_);
  EXPECT_FALSE(found.profile);
  EXPECT_NE(found.note.find("JSON"), std::string::npos) << found.note;
}

TEST_F(ProfileCache, AFileThatCannotBeWrittenIsAnError) {
  fs::create_directories(folder_);
  std::ofstream(folder_ / "dak") << "a file where a folder should be";
  EXPECT_TRUE(test::throws_error(ErrorCode::kIo, (folder_ / "dak").string(),
                                 [&] { save_profile(profile_, profile_cache_file(key_)); }));
}

}  // namespace
}  // namespace dak
