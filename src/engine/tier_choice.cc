#include "engine/tier_choice.h"

#include <algorithm>
#include <array>
#include <charconv>

#include "base/choice.h"
#include "base/error.h"
#include "base/units.h"
#include "engine/device.h"
#include "memory/numa.h"
#include "memory_cuda/arenas.h"

namespace dak {
namespace {

constexpr std::string_view kTiersFlag = "--tiers";
constexpr std::string_view kExample = "write --tiers local=40GiB,peer:1=60GiB,host=100GiB";

std::string_view without_spaces(std::string_view text) {
  const size_t begin = text.find_first_not_of(' ');
  if (begin == std::string_view::npos) return {};
  return text.substr(begin, text.find_last_not_of(' ') + 1 - begin);
}

std::optional<TierKind> tier_kind_of(std::string_view text) {
  for (const TierKind kind : {TierKind::kLocal, TierKind::kPeer, TierKind::kHost}) {
    if (text == name(kind)) return kind;
  }
  return std::nullopt;
}

TierChoice parse_tier(std::string_view entry, std::string_view flag) {
  const size_t equals = entry.find('=');
  const std::string_view tier = without_spaces(entry.substr(0, equals));
  const size_t colon = tier.find(':');
  const std::optional<TierKind> kind = tier_kind_of(tier.substr(0, colon));
  if (!kind) {
    throw_invalid(flag, {}, entry, "is not a tier",
                  did_you_mean(tier.substr(0, colon), {"local", "host", "peer"}) +
                      "use local, host, host:NODE (a NUMA node) or peer:GPU, each with or without "
                      "=SIZE");
  }
  TierChoice choice{.name = std::string(tier), .kind = *kind, .node = -1, .size_bytes = {}};
  if (colon != std::string_view::npos) {
    const std::string_view number = tier.substr(colon + 1);
    const auto [end, status] =
        std::from_chars(number.data(), number.data() + number.size(), choice.node);
    if (status != std::errc() || end != number.data() + number.size() || choice.node < 0 ||
        *kind == TierKind::kLocal) {
      throw_invalid(flag, {}, entry,
                    *kind == TierKind::kLocal ? "local has no number"
                                              : "has no number of a NUMA node or GPU after the :",
                    *kind == TierKind::kLocal ? "choose the GPU with --device cuda:N"
                                              : "use host:0 or peer:1");
    }
  }
  if (equals != std::string_view::npos) {
    const std::string_view size = without_spaces(entry.substr(equals + 1));
    choice.size_bytes = parse_bytes(size, fmt::format("{} {}", flag, tier));
    if (*choice.size_bytes == 0 && *kind != TierKind::kLocal) {
      throw_invalid(flag, {}, entry, "holds nothing", "omit the tier, or give it a size");
    }
  }
  return choice;
}

bool is_same(const TierChoice& a, const TierChoice& b) {
  return a.kind == b.kind && a.node == b.node;
}

std::string names_of(const std::vector<Tier>& tiers) {
  std::string text;
  for (const Tier& tier : tiers) text += (text.empty() ? "" : ", ") + tier.name;
  return text;
}

// Where nothing has the name itself, any of the kind that has no other number.
size_t find_tier(const TierChoice& choice, const std::vector<Tier>& known) {
  const auto named = std::ranges::find(known, choice.name, &Tier::name);
  if (named != known.end()) return static_cast<size_t>(named - known.begin());
  std::vector<size_t> fitting;
  for (size_t i = 0; i < known.size(); ++i) {
    const bool fits = known[i].kind == choice.kind &&
                      (choice.kind == TierKind::kLocal || choice.node == -1 || known[i].node == -1);
    if (fits) fitting.push_back(i);
  }
  if (fitting.empty()) {
    throw_unsupported(kTiersFlag, {}, choice.name, "is no tier of this machine",
                      "there are " + names_of(known));
  }
  if (fitting.size() > 1) {
    throw_invalid(kTiersFlag, {}, choice.name, "could be several tiers",
                  "there are " + names_of(known));
  }
  return fitting[0];
}

// A NUMA node of this machine as a host tier: reached as the usual one, whose bandwidth is taken
// for its own.
Tier node_tier(const TierChoice& choice, const Tier& host) {
  const std::vector<NumaMemory> nodes = numa_memories();
  std::string there;
  for (const NumaMemory& memory : nodes) {
    if (memory.node != choice.node) {
      there += fmt::format("{}host:{}", there.empty() ? "" : ", ", memory.node);
      continue;
    }
    Tier tier = host;
    tier.name = choice.name;
    tier.node = choice.node;
    tier.capacity_bytes = std::min(host.capacity_bytes, memory.size_bytes);
    return tier;
  }
  throw_unsupported(kTiersFlag, {}, choice.name, "there is no such NUMA node",
                    there.empty() ? "the system names none: use host" : "there are " + there);
}

}  // namespace

TierChoices parse_tiers(std::string_view text, std::string_view flag) {
  TierChoices choices;
  for (size_t begin = 0; begin <= text.size();) {
    const size_t end = std::min(text.find(',', begin), text.size());
    const std::string_view entry = without_spaces(text.substr(begin, end - begin));
    if (entry.empty()) throw_invalid(flag, {}, text, "has an empty entry", kExample);
    TierChoice choice = parse_tier(entry, flag);
    const auto same = [&](const TierChoice& other) { return is_same(choice, other); };
    if (std::ranges::any_of(choices, same)) {
      throw_invalid(flag, {}, text, fmt::format("has {} twice", choice.name),
                    "give each tier once, with all that it may hold");
    }
    choices.push_back(std::move(choice));
    begin = end + 1;
  }
  if (std::ssize(choices) > kMaxTiers) {
    throw_invalid(flag, {}, text, fmt::format("has {} tiers", choices.size()),
                  fmt::format("use at most {}", kMaxTiers));
  }
  if (std::ranges::find(choices, TierKind::kLocal, &TierChoice::kind) == choices.end()) {
    throw_invalid(flag, {}, text, "has no local tier, where new tokens and results lie",
                  "begin with local, or local=SIZE");
  }
  return choices;
}

std::vector<Tier> choose_tiers(const TierChoices& choices, const std::vector<Tier>& known) {
  std::vector<Tier> tiers;
  std::vector<size_t> taken;
  for (const TierChoice& choice : choices) {
    const size_t found = find_tier(choice, known);
    if (std::ranges::find(taken, found) != taken.end()) {
      throw_invalid(kTiersFlag, {}, choice.name,
                    fmt::format("is {}, which another entry is as well", known[found].name),
                    "there are " + names_of(known));
    }
    taken.push_back(found);
    Tier tier = known[found];
    tier.name = choice.name;
    if (choice.node >= 0) tier.node = choice.node;
    // The budget of the local tier is the plan's to keep (EngineOptions::local_budget_bytes).
    if (tier.kind != TierKind::kLocal && choice.size_bytes)
      tier.capacity_bytes = *choice.size_bytes;
    tiers.push_back(std::move(tier));
  }
  std::ranges::stable_sort(tiers, [](const Tier& a, const Tier& b) {
    if ((a.kind == TierKind::kLocal) != (b.kind == TierKind::kLocal)) {
      return a.kind == TierKind::kLocal;
    }
    return a.read_bytes_per_s > b.read_bytes_per_s;
  });
  return tiers;
}

std::vector<Tier> machine_tiers(const TierChoices& choices, const Device& device,
                                const std::vector<Tier>& usual) {
  if (choices.empty()) return usual;
  std::vector<Tier> known = usual;
  const auto host = std::ranges::find(usual, TierKind::kHost, &Tier::kind);
  for (const TierChoice& choice : choices) {
    if (choice.kind == TierKind::kHost && choice.node >= 0) {
      require(host != usual.end(), "a machine without host memory");
      known.push_back(node_tier(choice, *host));
    } else if (choice.kind == TierKind::kPeer) {
      if (device.backend == Backend::kCpu) {
        throw_unsupported(kTiersFlag, {}, choice.name, "the CPU backend reads no GPU's memory",
                          "use --device cuda, or host and host:NODE as tiers");
      }
      if (choice.node < 0) {
        throw_invalid(kTiersFlag, {}, choice.name, "does not say which GPU", "use peer:1");
      }
      known.push_back(peer_tier(device.ordinal, choice.node));
    }
  }
  return choose_tiers(choices, known);
}

}  // namespace dak
