// The heat map of `dak probe`: how fast local memory is read while a link is, over windows and
// readers.
#pragma once

#include <string>

#include "hardware/profile.h"

namespace dak {

// One panel for each tier that has a map; empty if none has.
std::string heat_map_svg(const HardwareProfile& profile);

}  // namespace dak
