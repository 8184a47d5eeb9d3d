#include "pass/names.h"

#include <fmt/format.h>

namespace dak {

std::string name_of_part(int64_t layer, std::string_view part) {
  return layer < 0 ? std::string(part) : fmt::format("layers.{}.{}", layer, part);
}

std::string kind_of_part(int64_t layer, std::string_view part) {
  return layer < 0 ? std::string(part) : fmt::format("layers.*.{}", part);
}

}  // namespace dak
