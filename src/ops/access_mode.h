// How kernels get at the part of a weight that lies in remote memory.
#pragma once

#include <cstdint>
#include <string_view>

namespace dak {

enum class AccessMode : uint8_t {
  kDirect,    // kernels read it from where it lies, while they compute
  kPrefetch,  // the copy engine brings it into buffers in local memory, ahead of its use
  kUva,       // ordinary kernels on host pointers, whole parameters
  kResident,  // nothing is remote
};

std::string_view name(AccessMode mode);
// Throws kInvalidArgument naming `flag` and the modes there are.
AccessMode parse_access_mode(std::string_view text, std::string_view flag);

}  // namespace dak
