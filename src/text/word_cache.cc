#include "text/word_cache.h"

#include <functional>

namespace dak {
namespace {

constexpr size_t kFirstSlots = 256;
constexpr size_t kMaxSlots = size_t{1} << 17;  // half full at most: about 64k words, 4 MiB

uint64_t hash_of(std::string_view word) { return std::hash<std::string_view>{}(word); }

}  // namespace

size_t WordCache::slot_of(std::string_view word, uint64_t hash) const {
  const size_t mask = entries_.size() - 1;
  size_t slot = hash & mask;
  while (entries_[slot].word_bytes != 0) {
    const Entry& entry = entries_[slot];
    if (entry.hash == hash && entry.word_bytes == word.size() &&
        std::string_view(words_).substr(entry.word_begin, entry.word_bytes) == word) {
      break;
    }
    slot = (slot + 1) & mask;
  }
  return slot;
}

std::span<const TokenId> WordCache::find(std::string_view word) const {
  if (entries_.empty() || word.size() > kMaxWordBytes) return {};
  const Entry& entry = entries_[slot_of(word, hash_of(word))];
  if (entry.word_bytes == 0) return {};
  return std::span(tokens_).subspan(entry.token_begin, entry.token_count);
}

void WordCache::store(std::string_view word, std::span<const TokenId> tokens) {
  if (word.empty() || word.size() > kMaxWordBytes || tokens.empty() || tokens.size() > 0xffff) {
    return;
  }
  if ((count_ + 1) * 2 > entries_.size()) grow();
  const uint64_t hash = hash_of(word);
  Entry& entry = entries_[slot_of(word, hash)];
  if (entry.word_bytes != 0) return;
  entry = {hash, static_cast<uint32_t>(words_.size()), static_cast<uint32_t>(tokens_.size()),
           static_cast<uint16_t>(word.size()), static_cast<uint16_t>(tokens.size())};
  words_ += word;
  tokens_.insert(tokens_.end(), tokens.begin(), tokens.end());
  ++count_;
}

void WordCache::grow() {
  if (entries_.size() >= kMaxSlots) {
    entries_.assign(entries_.size(), {});
    words_.clear();
    tokens_.clear();
    count_ = 0;
    return;
  }
  const std::vector<Entry> old = std::move(entries_);
  entries_.assign(old.empty() ? kFirstSlots : old.size() * 2, {});
  for (const Entry& entry : old) {
    if (entry.word_bytes == 0) continue;
    const auto word = std::string_view(words_).substr(entry.word_begin, entry.word_bytes);
    entries_[slot_of(word, entry.hash)] = entry;
  }
}

}  // namespace dak
