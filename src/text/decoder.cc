#include "text/decoder.h"

#include <algorithm>
#include <optional>
#include <tuple>
#include <utility>

#include "text/byte_level.h"
#include "text/normalizer.h"
#include "text/utf8.h"

namespace dak {
namespace {

// A step whose stages are of class Stage, made from a copy of `arguments`.
template <typename Stage, bool kFuses, typename... Arguments>
class Step : public DecoderStep {
 public:
  explicit Step(Arguments... arguments) : arguments_(std::move(arguments)...) {}
  DecodeStagePtr start(bool fused) const override {
    return std::apply([&](const Arguments&... a) { return std::make_unique<Stage>(fused, a...); },
                      arguments_);
  }
  bool fuses() const override { return kFuses; }

 private:
  std::tuple<Arguments...> arguments_;
};

// Each token by itself; where tokens are already joined, all of it at the end.
class PerToken : public DecodeStage {
 public:
  explicit PerToken(bool fused) : fused_(fused) {}
  void push(std::string_view token, const TextSink& next) override {
    if (fused_) {
      joined_ += token;
    } else {
      next(map(token));
    }
  }
  void finish(const TextSink& next) override {
    if (fused_) next(map(joined_));
  }

 protected:
  virtual std::string map(std::string_view token) = 0;

 private:
  bool fused_;
  std::string joined_;
};

class ByteLevelStage : public DecodeStage {
 public:
  // Never fused: tokenizer_json_steps.cc refuses a decoder that joins tokens before this one.
  explicit ByteLevelStage(bool /*fused*/) {}
  void push(std::string_view token, const TextSink& next) override {
    append_bytes(token);
    std::string text;
    size_t taken = 0;
    while (taken < pending_.size()) {
      const Utf8Step step = scan_utf8(pending_, taken);
      if (step.status == Utf8Status::kTruncated) break;
      text += step.status == Utf8Status::kValid
                  ? std::string_view(pending_).substr(taken, step.length_bytes)
                  : kReplacementCharacter;
      taken += step.length_bytes;
    }
    pending_.erase(0, taken);
    if (!text.empty()) next(text);
  }
  void finish(const TextSink& next) override {
    if (!pending_.empty()) next(kReplacementCharacter);
  }

 private:
  // A token with any character outside the alphabet stands for itself.
  void append_bytes(std::string_view token) {
    const size_t before = pending_.size();
    for (size_t i = 0; i < token.size();) {
      const Utf8Char c = utf8_char_at(token, i);
      const auto byte = byte_level_byte(c.code);
      if (!byte) {
        pending_.resize(before);
        pending_ += token;
        return;
      }
      pending_ += static_cast<char>(*byte);
      i += c.length_bytes;
    }
  }

  std::string pending_;  // the beginning of a character
};

// "<0xE4>": the byte; nullopt for other tokens.
std::optional<char> byte_of_token(std::string_view token) {
  if (token.size() != 6 || !token.starts_with("<0x") || token[5] != '>') return std::nullopt;
  int value = 0;
  for (const char c : token.substr(3, 2)) {
    value *= 16;
    if (c >= '0' && c <= '9') {
      value += c - '0';
    } else if (c >= 'A' && c <= 'F') {
      value += c - 'A' + 10;
    } else if (c >= 'a' && c <= 'f') {
      value += c - 'a' + 10;
    } else {
      return std::nullopt;
    }
  }
  return static_cast<char>(value);
}

// A run of byte tokens is text if all of it is valid UTF-8 and else one U+FFFD per byte: so
// nothing of it is certain before it ends.
class ByteFallbackStage : public DecodeStage {
 public:
  explicit ByteFallbackStage(bool /*fused*/) {}  // never fused, as above
  void push(std::string_view token, const TextSink& next) override {
    if (const auto byte = byte_of_token(token)) {
      run_ += *byte;
      return;
    }
    finish(next);
    next(token);
  }
  void finish(const TextSink& next) override {
    if (is_valid_utf8(run_)) {
      if (!run_.empty()) next(run_);
    } else {
      for (size_t i = 0; i < run_.size(); ++i) next(kReplacementCharacter);
    }
    run_.clear();
  }

 private:
  std::string run_;
};

// Joining is done by telling the stages that follow; the pieces pass through.
class FuseStage : public DecodeStage {
 public:
  explicit FuseStage(bool /*fused*/) {}
  void push(std::string_view token, const TextSink& next) override { next(token); }
  void finish(const TextSink&) override {}
};

class MetaspaceStage : public DecodeStage {
 public:
  MetaspaceStage(bool fused, std::string replacement, bool drop_first)
      : fused_(fused), replacement_(std::move(replacement)), drop_(drop_first) {}
  void push(std::string_view token, const TextSink& next) override {
    next(replace_literal(replacement_, token, drop_ ? "" : " "));
    if (!fused_) drop_ = false;
  }
  void finish(const TextSink&) override {}

 private:
  bool fused_;
  std::string replacement_;
  bool drop_;
};

class ReplaceRegexStage : public PerToken {
 public:
  ReplaceRegexStage(bool fused, std::shared_ptr<const Regex> pattern, std::string content)
      : PerToken(fused), pattern_(std::move(pattern)), content_(std::move(content)) {}

 protected:
  std::string map(std::string_view token) override {
    return replace_matches(*pattern_, token, content_, scratch_);
  }

 private:
  std::shared_ptr<const Regex> pattern_;
  std::string content_;
  RegexScratch scratch_;
};

class ReplaceLiteralStage : public PerToken {
 public:
  ReplaceLiteralStage(bool fused, std::string literal, std::string content)
      : PerToken(fused), literal_(std::move(literal)), content_(std::move(content)) {}

 protected:
  std::string map(std::string_view token) override {
    return replace_literal(literal_, token, content_);
  }

 private:
  std::string literal_;
  std::string content_;
};

class StripStage : public PerToken {
 public:
  StripStage(bool fused, std::string content, size_t start, size_t stop)
      : PerToken(fused && stop > 0),
        content_(std::move(content)),
        start_(start),
        stop_(stop),
        front_only_(fused && stop == 0) {}

 protected:
  std::string map(std::string_view token) override {
    size_t cut = 0;
    while (cut < start_ && token.starts_with(content_)) {
      token.remove_prefix(content_.size());
      ++cut;
    }
    for (size_t i = 0; i < stop_ && token.ends_with(content_); ++i) {
      token.remove_suffix(content_.size());
    }
    // The front of a long token that comes in pieces: what is cut here is not cut again.
    if (front_only_) start_ = token.empty() ? start_ - cut : 0;
    return std::string(token);
  }

 private:
  std::string content_;
  size_t start_;
  size_t stop_;
  bool front_only_;
};

class JoinWithSpacesStage : public DecodeStage {
 public:
  explicit JoinWithSpacesStage(bool /*fused*/) {}
  void push(std::string_view token, const TextSink& next) override {
    if (!first_) next(" ");
    first_ = false;
    next(token);
  }
  void finish(const TextSink&) override {}

 private:
  bool first_ = true;
};

}  // namespace

DecoderStepPtr make_byte_level_decoder() { return std::make_unique<Step<ByteLevelStage, true>>(); }
DecoderStepPtr make_byte_fallback_decoder() {
  return std::make_unique<Step<ByteFallbackStage, false>>();
}
DecoderStepPtr make_fuse_decoder() { return std::make_unique<Step<FuseStage, true>>(); }
DecoderStepPtr make_metaspace_decoder(std::string replacement, bool drop_first) {
  return std::make_unique<Step<MetaspaceStage, false, std::string, bool>>(std::move(replacement),
                                                                          drop_first);
}
DecoderStepPtr make_replace_decoder(std::shared_ptr<const Regex> pattern, std::string content) {
  return std::make_unique<
      Step<ReplaceRegexStage, false, std::shared_ptr<const Regex>, std::string>>(
      std::move(pattern), std::move(content));
}
DecoderStepPtr make_replace_decoder(std::string literal, std::string content) {
  return std::make_unique<Step<ReplaceLiteralStage, false, std::string, std::string>>(
      std::move(literal), std::move(content));
}
DecoderStepPtr make_strip_decoder(std::string content, size_t start, size_t stop) {
  return std::make_unique<Step<StripStage, false, std::string, size_t, size_t>>(std::move(content),
                                                                                start, stop);
}
DecoderStepPtr make_join_with_spaces_decoder() {
  return std::make_unique<Step<JoinWithSpacesStage, true>>();
}

DecoderChain::DecoderChain(const std::vector<DecoderStepPtr>& steps) {
  bool fused = false;
  for (const DecoderStepPtr& step : steps) {
    stages_.push_back(step->start(fused));
    fused = fused || step->fuses();
  }
}

void DecoderChain::push_from(size_t stage, std::string_view token, std::string& out) {
  if (stage == stages_.size()) {
    out += token;
    return;
  }
  // A chain of replacements must not fill the memory: no piece of text beyond 64 MiB.
  check_growth(size_t{1} << 20, token.size());
  stages_[stage]->push(token, [&](std::string_view text) { push_from(stage + 1, text, out); });
}

void DecoderChain::push(std::string_view token, std::string& out) { push_from(0, token, out); }

void DecoderChain::finish(std::string& out) {
  for (size_t stage = 0; stage < stages_.size(); ++stage) {
    stages_[stage]->finish([&](std::string_view text) { push_from(stage + 1, text, out); });
  }
}

}  // namespace dak
