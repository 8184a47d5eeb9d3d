// Marks in a text: characters put in to follow places through what is done to the text, and taken
// out again.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace dak {

// Characters of three UTF-8 bytes, one for each kind of mark.
struct MarkBlock {
  char32_t first = 0;
  uint32_t count = 0;
};

struct Mark {
  size_t place = 0;   // byte offset in the text without marks
  uint32_t kind = 0;  // below the block's count
};

struct MarkedText {
  std::string text;  // without the marks
  std::vector<Mark> marks;
};

// `marks` come by their places; those at one place in their order.
std::string with_marks(std::string_view text, std::span<const Mark> marks, const MarkBlock& block);

// Takes the block's characters out, also where JSON wrote them as "\u" and four digits.
MarkedText without_marks(std::string_view text, const MarkBlock& block);

// The first of `blocks` of which without_marks would find nothing.
std::optional<MarkBlock> absent_block(std::string_view text, std::span<const MarkBlock> blocks);

}  // namespace dak
