#include "text/chat_text.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <optional>
#include <utility>

#include "text/jinja/text.h"
#include "text/marks.h"
#include "text/tokenizer_impl.h"
#include "text/utf8.h"

namespace dak {
namespace {

// Letters of scripts without upper and lower case: what a template does to text leaves them as they
// are, Python's repr() too. Of one script that the conversation has not.
constexpr MarkBlock kScripts[] = {{0xa000, 1165},    // Yi
                                  {0x3400, 6592},    // rare ideographs
                                  {0x1401, 620},     // Canadian syllables
                                  {0xac00, 11172},   // Hangul
                                  {0x4e00, 20902}};  // ideographs
constexpr uint32_t kOpen = 0;  // kind of mark before a span; behind it 1 + its text's index

bool begins_longer(const std::vector<std::string>& sorted, std::string_view part) {
  const auto found = std::ranges::upper_bound(sorted, part);
  return found != sorted.end() && found->starts_with(part);
}

// The strings of a conversation, keys too, but for roles: the server checks those.
class Marker {
 public:
  // Of marks that the template's text and its input have not.
  Marker(const SpecialSpellings& spellings, SpecialSpellings::Parts parts, const MarkBlock& marks)
      : spellings_(spellings), parts_(parts), marks_(marks) {}

  ChatInput marked_input(const ChatInput& input) {
    ChatInput out = input;
    for (OrderedJson& message : out.messages) message = marked(message, true);
    out.tools = marked(input.tools);
    for (auto it = out.extra.begin(); it != out.extra.end(); ++it) it.value() = marked(it.value());
    return out;
  }

  bool any() const { return !texts_.empty(); }

  // What became of the marks in what the template wrote. A template may cut a text at a special
  // token: the marks that were around it are around something else then, and mean nothing.
  ChatText read(std::string_view written) const {
    MarkedText found = without_marks(written, marks_);
    ChatText out{.text = std::move(found.text), .letters = {}};
    for (size_t i = 0; i < found.marks.size(); ++i) {
      if (found.marks[i].kind != kOpen) continue;
      const size_t begin = found.marks[i].place;
      const size_t end = end_of_span(out.text, begin, std::span(found.marks).subspan(i + 1));
      const bool again = !out.letters.empty() && out.letters.back().begin == begin;
      if (end == begin) continue;
      if (!again) out.letters.push_back({begin, end});
      out.letters.back().end = std::max(out.letters.back().end, end);
    }
    return out;
  }

 private:
  // `begin`: there is none.
  size_t end_of_span(const std::string& text, size_t begin, std::span<const Mark> marks) const {
    for (const Mark& mark : marks) {
      if (mark.place - begin > longest_) break;
      if (mark.kind != kOpen &&
          text.compare(begin, mark.place - begin, *texts_[mark.kind - 1]) == 0)
        return mark.place;
    }
    return begin;
  }

  uint32_t kind_of(std::string text) {
    longest_ = std::max(longest_, text.size());
    const auto [found, is_new] =
        kinds_.try_emplace(std::move(text), static_cast<uint32_t>(texts_.size() + 1));
    if (is_new) texts_.push_back(&found->first);
    if (texts_.size() < marks_.count) return found->second;
    throw Error(ErrorCode::kResourceExhausted,
                {.where = {},
                 .field = std::string(kSplitField),
                 .value = {},
                 .problem = fmt::format("the messages have more than {} different special tokens",
                                        marks_.count),
                 .fix = "omit it"});
  }

  OrderedJson marked(const OrderedJson& json, bool message = false) {
    if (json.is_string()) return marked_text(json.get_ref<const std::string&>());
    if (!json.is_structured()) return json;
    OrderedJson out = json.is_array() ? OrderedJson::array() : OrderedJson::object();
    for (const auto& [key, value] : json.items()) {
      if (json.is_array()) {
        out.push_back(marked(value));
      } else {
        out[marked_text(key)] = message && key == "role" ? value : marked(value);
      }
    }
    return out;
  }

  std::string marked_text(const std::string& text) {
    std::vector<Mark> marks;
    for (const auto& [begin, end] : spellings_.spans(text, parts_)) {
      marks.push_back({.place = begin, .kind = kOpen});
      marks.push_back({.place = end, .kind = kind_of(text.substr(begin, end - begin))});
    }
    // An end comes before a beginning.
    std::ranges::sort(marks, [](const Mark& a, const Mark& b) {
      return std::pair(a.place, b.kind) < std::pair(b.place, a.kind);
    });
    return with_marks(text, marks, marks_);
  }

  const SpecialSpellings& spellings_;
  SpecialSpellings::Parts parts_;
  MarkBlock marks_;
  std::map<std::string, uint32_t> kinds_;  // of the marks behind texts
  std::vector<const std::string*> texts_;  // by kind less one; views into kinds_
  size_t longest_ = 0;                     // of them
};

[[noreturn]] void refuse_split(std::string_view problem) {
  throw_unsupported({}, kSplitField, {}, problem, "omit it, or the special tokens");
}

std::string all_text(const ChatInput& input) {
  std::string text;
  for (const OrderedJson* json : {&input.messages, &input.tools, &input.extra}) {
    text += json->dump(-1, ' ', false, OrderedJson::error_handler_t::replace);
  }
  return text;
}

}  // namespace

SpecialSpellings::SpecialSpellings(const Tokenizer& tokenizer) : tokenizer_(tokenizer) {
  for (const AddedToken& token : tokenizer.impl().added->tokens()) {
    if (!token.special) continue;
    tree_.add(token.content, 0);
    forward_.push_back(token.content);
    backward_.emplace_back(token.content.rbegin(), token.content.rend());
    all_.append(1, '\0').append(token.content);
    longest_ = std::max(longest_, token.content.size());
  }
  std::ranges::sort(forward_);
  std::ranges::sort(backward_);
}

// Whether a spelling has `text` behind its first byte.
bool SpecialSpellings::is_inside(std::string_view text) const {
  if (text.size() >= longest_) return false;
  for (size_t at = all_.find(text); at != all_.npos; at = all_.find(text, at + 1)) {
    if (at > 0 && all_[at - 1] != '\0') return true;
  }
  return false;
}

// `text` lies at `offset` and has no white space around it: templates take that away.
void SpecialSpellings::add_parts(std::string_view text, size_t offset, Parts parts,
                                 std::vector<TextSpan>& spans) const {
  const size_t most = std::min(text.size(), longest_);
  std::string head;
  bool reached = parts == Parts::kAll && is_inside(text);
  for (size_t k = 1; k <= most && !reached; ++k) {
    head.assign(text.substr(0, k));
    std::ranges::reverse(head);
    reached = begins_longer(backward_, head);
  }
  if (reached) spans.push_back({offset, offset + jinja::decode_at(text, 0).bytes});
  const size_t end = offset + text.size();
  for (size_t k = 1; k <= most; ++k) {
    if (begins_longer(forward_, text.substr(text.size() - k))) spans.push_back({end - k, end});
  }
}

bool SpecialSpellings::has_normalized(std::string_view text) const {
  const Tokenizer::Impl& impl = tokenizer_.impl();
  if (!impl.normalizer || !impl.added->has_normalized_specials()) return false;
  RegexScratch scratch;
  for (const bool at_start : {false, true}) {
    NormalizedText normalized{std::string(text), at_start};
    impl.normalizer->apply(normalized, scratch);
    for (const auto& section : impl.added->split_normalized(normalized.text, true)) {
      if (impl.is_special(section.token)) return true;
    }
  }
  return false;
}

std::vector<TextSpan> SpecialSpellings::spans(std::string_view text, Parts parts) const {
  std::vector<TextSpan> spans;
  if (tree_.empty()) return spans;
  // A normaliser may have moved everything: no special token may touch any of it.
  const bool everywhere = has_normalized(text);
  for (size_t at = 0; at < text.size(); ++at) {
    const auto match = tree_.may_begin_with(text[at]) ? tree_.longest(text, at)
                                                      : std::optional<PrefixTree::Match>();
    if (match) spans.push_back({at, at + match->length_bytes});
    if (!everywhere || (static_cast<uint8_t>(text[at]) & 0xc0) == 0x80) continue;
    const jinja::CodePoint letter = jinja::decode_at(text, at);
    if (!jinja::is_space(letter.value)) spans.push_back({at, at + letter.bytes});
  }
  const std::string_view bare = jinja::strip_space(text);
  if (parts != Parts::kNone && !bare.empty()) {
    add_parts(bare, static_cast<size_t>(bare.data() - text.data()), parts, spans);
  }
  std::ranges::sort(spans, [](const TextSpan& a, const TextSpan& b) {
    return std::pair(a.begin, a.end) < std::pair(b.begin, b.end);
  });
  spans.erase(std::unique(spans.begin(), spans.end()), spans.end());
  return spans;
}

ChatText split_special_text(const ChatTemplate& chat_template, const ChatInput& input,
                            const SpecialSpellings& spellings) {
  using Parts = SpecialSpellings::Parts;
  std::string plain = chat_template.render(input);
  const std::optional<MarkBlock> marks = absent_block(all_text(input) + plain, kScripts);
  if (!marks) refuse_split("the messages have letters of too many scripts");
  // A template may compare short strings, such as "object", which are parts of special tokens; one
  // that compares has no need to write the rest of such a token around them.
  for (const Parts parts : {Parts::kAll, Parts::kAtEnds, Parts::kNone}) {
    Marker marker(spellings, parts, *marks);
    const ChatInput marked = marker.marked_input(input);
    if (!marker.any()) return {.text = std::move(plain), .letters = {}};
    try {
      ChatText text = marker.read(chat_template.render(marked));
      if (text.text == plain) return text;
    } catch (const Error&) {
      continue;  // the marks' doing: `plain` was rendered
    }
  }
  refuse_split(
      "the chat template looks for special tokens in the messages and would not see those that are "
      "to be letters");
}

}  // namespace dak
