#include "memory/tier.h"

namespace dak {

std::string_view name(TierKind kind) {
  switch (kind) {
    case TierKind::kLocal:
      return "local";
    case TierKind::kPeer:
      return "peer";
    case TierKind::kHost:
      return "host";
  }
  return "unknown";
}

}  // namespace dak
