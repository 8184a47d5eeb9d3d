// The cost model's constants for the GPU's kernels: kernel_costs.json, compiled in.
// scripts/fit_costs writes that file from bench/results; each constant there names what it was
// measured by.
#pragma once

#include <string_view>

#include "plan/cost.h"

namespace dak {

std::string_view kernel_costs_json();

// Of the TMA kernels where `reads_once` (a product of more than 64 rows reads its weight once),
// else of the plain ones. Throws kCorrupt or kUnsupported, naming `where` and the field.
KernelCosts parse_kernel_costs(std::string_view json, bool reads_once, std::string_view where);

}  // namespace dak
