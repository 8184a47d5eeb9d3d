#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>

namespace dak {

// "dak 0.1.0" and build facts: commit, compiler, build type, backends, CPU features in use.
std::string version_text();

}  // namespace dak
