// Profiles of machines that are not here, for what-ifs: presets/*.json, compiled in. Each says
// where its numbers are from.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "hardware/profile.h"

namespace dak {

struct PresetText {
  std::string_view name;  // "gh200"
  std::string_view json;
};
std::span<const PresetText> preset_texts();

// "a100, gb200, ...", for messages.
std::string preset_names();

// A preset's name, or the path of a profile's JSON. Throws kNotFound, naming the presets, for what
// is neither; else as load_profile.
HardwareProfile hardware_named(std::string_view name_or_file);

// The preset of a GPU by the name that its driver gives it ("NVIDIA H100 80GB HBM3"); nullptr:
// none.
const PresetText* preset_of_processor(std::string_view processor);

}  // namespace dak
