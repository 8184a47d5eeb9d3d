// Where `dak probe` keeps what it measured: one file for each device and driver under
// $XDG_CACHE_HOME/dak/hardware (~/.cache without it).
#pragma once

#include <filesystem>
#include <optional>
#include <string>

#include "hardware/profile.h"

namespace dak {

// What a profile must be of to be this machine's.
struct ProfileKey {
  std::string device;  // "cuda" or "cpu"
  std::string processor;
  std::string uuid;                     // of the GPU; empty on the CPU
  std::string driver;                   // empty on the CPU
  std::optional<int64_t> threads = {};  // CPU: the profile's sm_count

  // Empty: the profile is of this machine. Else why it is not: "is of driver 570, not 580".
  std::string mismatch(const HardwareProfile& profile) const;
};

// Throws kNotFound where neither XDG_CACHE_HOME nor HOME is set.
std::filesystem::path profile_cache_file(const ProfileKey& key);

// Whole or not at all; makes the folders. Throws kIo.
void save_profile(const HardwareProfile& profile, const std::filesystem::path& path);

struct CachedProfile {
  std::optional<HardwareProfile> profile;
  std::string
      note;  // for the user: why what is there is not used; empty: nothing is there, or it is
};

// A stale, foreign or damaged file is ignored, and the note says so.
CachedProfile load_cached_profile(const ProfileKey& key);

}  // namespace dak
