// Items that are alike, as the same weight of every layer is: solved once for all.
#pragma once

#include <vector>

#include "plan/greedy.h"

namespace dak {

struct ItemKind {
  std::vector<size_t> members;  // indices of items
};

std::vector<ItemKind> kinds_of(const std::vector<PlacedItem>& items);

}  // namespace dak
