# cmake -DOUTPUT=FILE.cc -DCOSTS=kernel_costs.json -P EmbedCosts.cmake: the constants as a C++ string.
file(READ ${COSTS} text)
file(WRITE ${OUTPUT} "// Made by cmake/EmbedCosts.cmake from src/plan/kernel_costs.json.
#include \"plan/kernel_costs.h\"

namespace dak {

std::string_view kernel_costs_json() {
  return R\"costs(${text})costs\";
}

}  // namespace dak
")
