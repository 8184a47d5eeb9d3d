// The instantiations of an attention kernel on tensor cores; for .cu files.
#pragma once

#include <string_view>

#include "kernels/half_types.h"
#include "kernels/launch.h"
#include "ops/cuda/kernels.h"

namespace dak::cuda {

// Calls use.operator()<T, kHeadSize>() for the cache's type and head size, which is one of
// `kHeadSizes`. Throws, naming `kernel`, for others.
template <int... kHeadSizes, typename Use>
void with_attention_form(const KvParams& kv, std::string_view kernel, const Use& use) {
  with_half_type(kv.kv_dtype, kernel, [&]<typename T>() {
    const bool known =
        ((kv.head_size == kHeadSizes && (use.template operator()<T, kHeadSizes>(), true)) || ...);
    if (!known) refuse_form(kernel, "head_size", kv.head_size);
  });
}

}  // namespace dak::cuda
