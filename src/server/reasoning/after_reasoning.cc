#include "server/reasoning/after_reasoning.h"

#include <algorithm>
#include <utility>

#include "base/error.h"

namespace dak {
namespace {

constexpr std::string_view kSpaces = " \t\r\n";
constexpr size_t kMostSpaces = 2;  // a line break, or an empty line

bool are_spaces(std::string_view text) {
  return text.find_first_not_of(kSpaces) == std::string_view::npos;
}

bool has_bit(std::span<const uint64_t> bits, TokenId token) {
  const auto index = static_cast<size_t>(token);
  return index / 64 < bits.size() && (bits[index / 64] >> (index % 64) & 1) != 0;
}

void allow_token(std::span<uint64_t> bits, TokenId token) {
  const auto index = static_cast<size_t>(token);
  if (index / 64 < bits.size()) bits[index / 64] |= uint64_t{1} << (index % 64);
}

}  // namespace

AfterReasoning::AfterReasoning(ReasoningTags tags, const TokenTexts& texts, Make make)
    : tags_(std::move(tags)),
      texts_(texts),
      make_(std::move(make)),
      answer_(make_()),
      state_(tags_.opened ? State::kInside : State::kBegin) {}

// A token may hold the second tag; what it holds behind that is spaces.
bool AfterReasoning::fits_inside(std::string_view bytes) const {
  if (bytes.find(tags_.close.back()) == std::string_view::npos) return true;
  const std::string text = read_ + std::string(bytes);
  const size_t close = text.find(tags_.close);
  if (close == std::string::npos) return true;
  const std::string_view rest = std::string_view(text).substr(close + tags_.close.size());
  return are_spaces(rest) && rest.size() <= kMostSpaces;
}

bool AfterReasoning::fits(std::string_view bytes) const {
  if (state_ == State::kInside) return fits_inside(bytes);
  if (state_ == State::kSpaces) {
    return are_spaces(bytes) && spaces_ + bytes.size() <= kMostSpaces;
  }
  // kBegin: the tag so far, or all of it and spaces.
  const std::string text = read_ + std::string(bytes);
  if (text.size() <= tags_.open.size()) return tags_.open.starts_with(text);
  return text.starts_with(tags_.open) && are_spaces(text.substr(tags_.open.size()));
}

void AfterReasoning::allow_tokens(std::span<uint64_t> bits) {
  for (const TokenTexts::Token& token : texts_.all()) {
    if (fits(token.bytes)) allow_token(bits, token.id);
  }
}

void AfterReasoning::allow(std::span<uint64_t> bits) {
  if (state_ == State::kAnswer) return answer_->allow(bits);
  of_answer_.assign(bits.size(), 0);
  if (state_ != State::kInside && answer_) answer_->allow(of_answer_);
  std::ranges::copy(of_answer_, bits.begin());
  allow_tokens(bits);
}

void AfterReasoning::accept(TokenId token) {
  if (state_ == State::kAnswer) return answer_->accept(token);
  const std::string_view bytes = texts_.bytes(token);
  const bool fitting = !bytes.empty() && fits(bytes);
  const bool answering = has_bit(of_answer_, token);
  require(fitting || answering, "a token was drawn that neither reasoning nor the answer allows");
  if (answering) {
    answer_->accept(token);
  } else if (state_ == State::kBegin) {
    answer_.reset();
  }
  // White space after the tag is not the answer's, where it could be either.
  if (!fitting) {
    state_ = State::kAnswer;
  } else if (state_ == State::kSpaces) {
    if (answering) answer_ = make_();
    spaces_ += bytes.size();
  } else {
    read(bytes);
  }
}

void AfterReasoning::read(std::string_view bytes) {
  read_ += bytes;
  if (state_ == State::kBegin) {
    if (read_.size() < tags_.open.size()) return;
    read_.clear();
    state_ = State::kInside;
    answer_.reset();
    return;
  }
  const size_t close = read_.find(tags_.close);
  if (close != std::string::npos) {
    spaces_ = read_.size() - close - tags_.close.size();
    state_ = State::kSpaces;
    answer_ = make_();
  } else if (read_.size() >= tags_.close.size()) {
    read_.erase(0, read_.size() - tags_.close.size() + 1);
  }
}

}  // namespace dak
