#include "text/prefix_tree.h"

namespace dak {

void PrefixTree::add(std::string_view text, int value) {
  if (text.empty()) return;
  first_bytes_[static_cast<uint8_t>(text[0])] = true;
  size_t node = 0;
  for (const char c : text) {
    const auto [child, is_new] = nodes_[node].children.try_emplace(
        static_cast<uint8_t>(c), static_cast<int32_t>(nodes_.size()));
    node = static_cast<size_t>(child->second);
    if (is_new) nodes_.emplace_back();
  }
  if (nodes_[node].value < 0) nodes_[node].value = value;
}

std::optional<PrefixTree::Match> PrefixTree::longest(std::string_view text, size_t at) const {
  std::optional<Match> best;
  size_t node = 0;
  for (size_t i = at; i < text.size(); ++i) {
    const auto child = nodes_[node].children.find(static_cast<uint8_t>(text[i]));
    if (child == nodes_[node].children.end()) break;
    node = static_cast<size_t>(child->second);
    if (nodes_[node].value >= 0) best = Match{nodes_[node].value, i + 1 - at};
  }
  return best;
}

}  // namespace dak
