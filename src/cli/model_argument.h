// MODEL on the command line.
#pragma once

#include <string>

#include "engine/model_files.h"

namespace dak {

// open_model, with what it noticed said on standard error.
ModelFiles open_model_argument(const std::string& path, bool need_weights);

}  // namespace dak
