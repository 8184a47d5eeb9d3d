#include "engine/kv_claims.h"

#include <algorithm>

namespace dak {

// The one that needs least first: if that one cannot end, none can.
bool can_all_end(int64_t available, std::span<KvClaim> claims) {
  std::ranges::sort(claims, {}, &KvClaim::need);
  return std::ranges::all_of(claims, [&available](const KvClaim& claim) {
    if (claim.need > available) return false;
    available += claim.returns;
    return true;
  });
}

}  // namespace dak
