#include "plan/item_kinds.h"

namespace dak {

std::vector<ItemKind> kinds_of(const std::vector<PlacedItem>& items) {
  std::vector<ItemKind> kinds;
  for (size_t i = 0; i < items.size(); ++i) {
    const PlacedItem& item = items[i];
    bool known = false;
    for (ItemKind& kind : kinds) {
      const PlacedItem& first = items[kind.members.front()];
      known = first.blocks == item.blocks && first.block_bytes == item.block_bytes &&
              first.terms == item.terms;
      if (!known) continue;
      kind.members.push_back(i);
      break;
    }
    if (!known) kinds.push_back({.members = {i}});
  }
  return kinds;
}

}  // namespace dak
