// A conversation as text, and which special tokens in it are letters: those that the strings of the
// conversation spell, where these are not to command the model.
//
// The strings are rendered twice: as they are, and with marks around every special token in them
// and around what may be a part of one that also takes text beside them. What the template writes
// must be the same both times but for the marks, which tell the places.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "text/chat_template.h"
#include "text/prefix_tree.h"
#include "text/tokenizer.h"

namespace dak {

struct ChatText {
  std::string text;
  std::vector<TextSpan> letters;  // EncodeOptions::letters
};

class SpecialSpellings {
 public:
  // `tokenizer` outlives this.
  explicit SpecialSpellings(const Tokenizer& tokenizer);

  // What strings are marked for: special tokens that stand in them; or also those of which they
  // might be a part, in a template that writes the rest.
  enum class Parts : uint8_t { kNone, kAtEnds, kAll };

  // Where a special token that covers the first byte must be letters, with what belongs together;
  // ascending.
  std::vector<TextSpan> spans(std::string_view text, Parts parts) const;

 private:
  void add_parts(std::string_view text, size_t offset, Parts parts,
                 std::vector<TextSpan>& spans) const;
  bool is_inside(std::string_view text) const;
  bool has_normalized(std::string_view text) const;

  const Tokenizer& tokenizer_;
  PrefixTree tree_;
  std::vector<std::string> forward_;   // sorted
  std::vector<std::string> backward_;  // from their last byte to their first, sorted
  std::string all_;                    // each behind a zero byte
  size_t longest_ = 0;
};

inline constexpr std::string_view kSplitField = "split_special_tokens";

// Throws as ChatTemplate::render does, and kUnsupported, of the field kSplitField, where the
// template looks at special tokens in the strings: its text would not be the same with marks.
ChatText split_special_text(const ChatTemplate& chat_template, const ChatInput& input,
                            const SpecialSpellings& spellings);

}  // namespace dak
