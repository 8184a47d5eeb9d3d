#pragma once

#include <string>

namespace dak {

// "dak 0.1.0" and build facts: commit, compiler, build type, backends and
// the instruction set of the CPU kernels in use.
std::string version_text();

}  // namespace dak
