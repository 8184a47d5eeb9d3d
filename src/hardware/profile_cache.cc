#include "hardware/profile_cache.h"

#include <algorithm>
#include <cctype>
#include <cstdlib>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/file.h"

namespace dak {
namespace {

namespace fs = std::filesystem;

constexpr size_t kMostNameChars = 100;

// Letters, digits and dashes: what any file system takes.
std::string file_name_of(std::string_view text) {
  std::string name;
  for (const char c : text) {
    const bool plain = std::isalnum(static_cast<unsigned char>(c)) != 0;
    if (plain) name += static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
    if (!plain && !name.empty() && name.back() != '-') name += '-';
  }
  return name.substr(0, kMostNameChars);
}

fs::path cache_folder() {
  const char* cache = std::getenv("XDG_CACHE_HOME");
  if (cache != nullptr && fs::path(cache).is_absolute()) return fs::path(cache) / "dak";
  const char* home = std::getenv("HOME");
  if (home != nullptr && *home != '\0') return fs::path(home) / ".cache" / "dak";
  throw Error(ErrorCode::kNotFound, {.where = "cache of hardware profiles",
                                     .field = {},
                                     .value = {},
                                     .problem = "neither XDG_CACHE_HOME nor HOME is set",
                                     .fix = "set one, or use --output FILE"});
}

std::string differs(std::string_view what, std::string_view theirs, std::string_view ours) {
  return fmt::format("is of {} '{}', not '{}'", what, printable(theirs), ours);
}

}  // namespace

std::string ProfileKey::mismatch(const HardwareProfile& profile) const {
  if (profile.device != device) return differs("device", profile.device, device);
  if (profile.processor != processor) return differs("processor", profile.processor, processor);
  if (profile.uuid != uuid) return differs("GPU", profile.uuid, uuid);
  if (profile.driver != driver) return differs("driver", profile.driver, driver);
  if (threads && profile.sm_count != threads) {
    return fmt::format("is of {} threads, not {}", profile.sm_count.value_or(0), *threads);
  }
  return {};
}

fs::path profile_cache_file(const ProfileKey& key) {
  std::string of = key.uuid.empty() ? key.processor : key.uuid;
  if (key.threads) of += fmt::format(" {} threads", *key.threads);
  return cache_folder() / "hardware" / (file_name_of(key.device + " " + of) + ".json");
}

void save_profile(const HardwareProfile& profile, const fs::path& path) {
  std::error_code failed;
  if (path.has_parent_path()) fs::create_directories(path.parent_path(), failed);
  write_text_file(path, nlohmann::json(profile).dump(2) + "\n",
                  "check the folder, or use --output FILE");
}

CachedProfile load_cached_profile(const ProfileKey& key) {
  fs::path path;
  try {
    path = profile_cache_file(key);
    std::error_code failed;
    if (!fs::exists(path, failed)) return {};
    HardwareProfile profile = load_profile(path);
    const std::string mismatch = key.mismatch(profile);
    if (mismatch.empty()) return {.profile = std::move(profile), .note = {}};
    return {.profile = {}, .note = fmt::format("{} {}", path.string(), mismatch)};
  } catch (const Error& error) {
    if (path.empty()) return {};  // no folder to look in
    return {.profile = {}, .note = error.what()};
  }
}

}  // namespace dak
