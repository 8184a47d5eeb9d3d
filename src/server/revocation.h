// POST /tiers/revoke: a remote tier is given back while answers go on.
#pragma once

#include <atomic>
#include <string>
#include <string_view>

#include "server/service.h"

namespace dak {

// `body`: {"tier": "peer"}. Waits until what lay there lies elsewhere (Engine::revoke_tier), so not
// for a connection's thread. Returns the answer's body: the tier, and what lies where now. Throws
// ApiError: 400 (mode prefetch or uva), 404 (no such remote tier), 409 (no other tier has room; all
// is as it was), 503 (`stopping`).
std::string revoke_tier(const Service& service, std::string_view body,
                        const std::atomic<bool>& stopping);

}  // namespace dak
