#include "cli/model_argument.h"

#include "cli/output.h"

namespace dak {

ModelFiles open_model_argument(const std::string& path, bool need_weights) {
  ModelFiles files = open_model(path, need_weights);
  for (const std::string& notice : files.notices) print_err("dak: {}\n", notice);
  return files;
}

}  // namespace dak
