#include "memory/arena.h"

#include <cstring>

#include "base/error.h"
#include "base/units.h"

namespace dak {

void Arena::write(std::byte* at, std::span<const std::byte> bytes) {
  std::memcpy(at, bytes.data(), bytes.size());
}

void Arena::read(const std::byte* at, std::span<std::byte> bytes) const {
  std::memcpy(bytes.data(), at, bytes.size());
}

void Arena::fill_random(std::byte* at, const RandomValues& values) {
  require(host_writable(), "an arena the CPU cannot write must fill itself");
  fill_random_cpu(at, values);
}

void check_capacity(const Tier& tier, int64_t used_bytes, int64_t need_bytes) {
  if (tier.capacity_bytes <= 0 || used_bytes + need_bytes <= tier.capacity_bytes) return;
  throw Error(ErrorCode::kResourceExhausted,
              {.where = "tier " + tier.name,
               .field = "capacity",
               .value = format_bytes(tier.capacity_bytes),
               .problem = fmt::format("cannot hold {} more beside {}", format_bytes(need_bytes),
                                      format_bytes(used_bytes)),
               .fix = "raise the tier's budget"});
}

}  // namespace dak
