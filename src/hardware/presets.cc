#include "hardware/presets.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "base/choice.h"
#include "base/error.h"
#include "base/json.h"

namespace dak {
namespace {

HardwareProfile parsed(const PresetText& preset) {
  const std::string where = "preset " + std::string(preset.name);
  return parse_profile(parse_json(preset.json, where), where);
}

}  // namespace

std::string preset_names() {
  std::string names;
  for (const PresetText& preset : preset_texts()) {
    names += (names.empty() ? "" : ", ") + std::string(preset.name);
  }
  return names;
}

HardwareProfile hardware_named(std::string_view name_or_file) {
  for (const PresetText& preset : preset_texts()) {
    if (preset.name == name_or_file) return parsed(preset);
  }
  const std::filesystem::path path(name_or_file);
  std::error_code failed;
  if (!std::filesystem::exists(path, failed)) {
    std::vector<std::string> names;
    for (const PresetText& preset : preset_texts()) names.emplace_back(preset.name);
    throw Error(ErrorCode::kNotFound,
                {.where = "--hardware",
                 .field = {},
                 .value = std::string(name_or_file),
                 .problem = "is neither a preset nor a file",
                 .fix = fmt::format("{}presets: {}; or a file that dak probe wrote",
                                    did_you_mean(name_or_file, names), preset_names())});
  }
  return load_profile(path);
}

const PresetText* preset_of_processor(std::string_view processor) {
  const auto presets = preset_texts();
  const auto found = std::ranges::find_if(
      presets, [&](const PresetText& preset) { return parsed(preset).processor == processor; });
  return found == presets.end() ? nullptr : &*found;
}

}  // namespace dak
