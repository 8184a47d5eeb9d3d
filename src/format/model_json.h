// The JSON and text files of a model's folder, and what may lie in a file's place instead of it.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>

#include "base/json.h"

namespace dak {

// Throws where `head`, the first bytes of a file (64 are enough), are those of something that
// stands in for the file: a Git LFS or Xet pointer, a page of a web server, nothing at all.
void refuse_stand_in(std::string_view head, std::string_view where);

// The whole file; throws as above.
std::string read_model_text(const std::filesystem::path& path);

// parse_python_json of it; throws kCorrupt where it is not JSON.
Json read_model_json(const std::filesystem::path& path);

}  // namespace dak
