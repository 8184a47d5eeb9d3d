#include "cli/version.h"

#include <fmt/core.h>

#include "cli/build_facts.h"

namespace dak {

std::string version_text() {
  return fmt::format("dak {} ({})\ncompiler: {}, {}\nbackends: CPU{}\nprefill GEMM: {}",
                     build::kVersion, build::kCommit, build::kCompiler, build::kBuildType,
                     build::kSanitized ? ", sanitized" : "",
                     build::kOneDnn ? "oneDNN" : "built in");
}

}  // namespace dak
