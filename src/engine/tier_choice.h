// Which memories dak uses: --tiers local=40GiB,peer:1=60GiB,host=100GiB.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "memory/tier.h"

namespace dak {

struct Device;

// One entry of the list.
struct TierChoice {
  std::string name;  // as written, "peer:1"
  TierKind kind = TierKind::kLocal;
  int node = -1;                      // NUMA node or GPU ordinal; -1: not said
  std::optional<int64_t> size_bytes;  // most to use; default: what is free
  bool operator==(const TierChoice&) const = default;
};
using TierChoices = std::vector<TierChoice>;

// Throws kInvalidArgument, naming `flag` and the entry, for what is not a tier or not a size, for
// an entry that is there twice, for a list without `local` and for more than kMaxTiers.
TierChoices parse_tiers(std::string_view text, std::string_view flag);

// `local` first, then the others from fast to slow: those that are equally fast, or were not
// measured, as they are in `choices`. `known` are the machine's; one of them that has no number
// stands for any number. Throws kUnsupported, naming the tiers there are, for one that is not
// among them, and kInvalidArgument where it could be several or is asked for twice.
std::vector<Tier> choose_tiers(const TierChoices& choices, const std::vector<Tier>& known);

// The same on this machine, whose usual tiers, local and host, are `usual`. Opens and measures
// what else is asked for: NUMA nodes as host tiers, on any device; on a GPU other GPUs as peers.
// Throws as choose_tiers, and kUnsupported with the reason for a GPU that cannot be read.
std::vector<Tier> machine_tiers(const TierChoices& choices, const Device& device,
                                const std::vector<Tier>& usual);

}  // namespace dak
