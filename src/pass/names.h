// What the parts of a pass are called: in plans, reports, timers and as seeds of synthetic weights.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace dak {

// "layers.7.qkv"; `part` itself outside of the layers (-1).
std::string name_of_part(int64_t layer, std::string_view part);
// The same for all layers: "layers.*.qkv".
std::string kind_of_part(int64_t layer, std::string_view part);

// Kinds of what has no weight of its own: attention with the heads before it, the norms of a
// layer, and what a pass does once.
inline constexpr std::string_view kAttentionKind = "layers.*.attention";
inline constexpr std::string_view kNormsKind = "layers.*.norms";
inline constexpr std::string_view kPassKind = "pass";

}  // namespace dak
