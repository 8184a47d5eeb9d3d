// A byte trie: which of some texts begins at a given place, and the longest of them.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace dak {

class PrefixTree {
 public:
  struct Match {
    int value = 0;
    size_t length_bytes = 0;
  };

  // A text added again keeps its first value. Empty texts are not added.
  void add(std::string_view text, int value);

  bool empty() const { return nodes_.size() == 1; }

  // Whether any text begins with this byte: a cheap test before longest().
  bool may_begin_with(char byte) const { return first_bytes_[static_cast<uint8_t>(byte)]; }

  std::optional<Match> longest(std::string_view text, size_t at) const;

 private:
  struct Node {
    std::unordered_map<uint8_t, int32_t> children;
    int value = -1;
  };
  std::vector<Node> nodes_ = std::vector<Node>(1);
  std::array<bool, 256> first_bytes_{};
};

}  // namespace dak
