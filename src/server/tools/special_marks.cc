#include "server/tools/special_marks.h"

#include <algorithm>
#include <utility>

namespace dak {
namespace {

constexpr size_t kMostMarks = 64;

}  // namespace

SpecialMarks::SpecialMarks(const Tokenizer& tokenizer, const std::vector<std::string>& texts) {
  std::vector<std::pair<std::string, TokenId>> found;
  for (TokenId id = 0; id < tokenizer.vocabulary_size(); ++id) {
    if (!tokenizer.is_special(id)) continue;
    const std::string spelling = tokenizer.token_text(id).value_or("");
    const auto has = [&](const std::string& text) { return text.find(spelling) != text.npos; };
    if (!spelling.empty() && std::ranges::any_of(texts, has)) found.emplace_back(spelling, id);
  }
  std::ranges::stable_sort(found, std::greater(),
                           [](const auto& mark) { return mark.first.size(); });
  if (found.size() > kMostMarks) found.resize(kMostMarks);
  for (auto& [spelling, id] : found) {
    tokens_.push_back(id);
    spellings_.push_back(std::move(spelling));
  }
}

std::string SpecialMarks::coded(std::string_view text) const {
  std::string out;
  while (!text.empty()) {
    const auto begins = [&](const std::string& spelling) { return text.starts_with(spelling); };
    const auto mark = std::ranges::find_if(spellings_, begins);
    if (mark == spellings_.end()) {
      out += text.front();
      text.remove_prefix(1);
    } else {
      out += code(static_cast<size_t>(mark - spellings_.begin()));
      text.remove_prefix(mark->size());
    }
  }
  return out;
}

}  // namespace dak
