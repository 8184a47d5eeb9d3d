// Whose work is in the binary, and under what terms: compiled in by cmake/ThirdParty.cmake.
#pragma once

#include <string_view>

namespace dak {

// NOTICE and LICENSE.
std::string_view own_licence();

// THIRD_PARTY.txt: of everything in cmake/third_party.list, its notice.
std::string_view third_party_notices();

}  // namespace dak
