#include "cli/version.h"

#include <fmt/core.h>

#include "cli/build_facts.h"
#include "ops/cpu/kernels.h"

namespace dak {

std::string version_text() {
  return fmt::format("dak {} ({})\ncompiler: {}, {}{}\nbackends: CPU ({})", build::kVersion,
                     build::kCommit, build::kCompiler, build::kBuildType,
                     build::kSanitized ? ", sanitized" : "", cpu::kernels().isa);
}

}  // namespace dak
