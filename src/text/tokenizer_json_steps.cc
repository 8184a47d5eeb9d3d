#include "text/tokenizer_json_steps.h"

#include <map>
#include <utility>

#include "text/utf8.h"
#include "text/vocabulary.h"

namespace dak {
namespace {

std::string type_of(const JsonField& field) { return field.at("type").string(); }

[[noreturn]] void unknown_type(const JsonField& field, std::string_view known) {
  field.at("type").unsupported("dak does not know this type", fmt::format("known: {}", known));
}

std::string one_char(const JsonField& field) {
  std::string text = field.string();
  if (text.empty() || utf8_char_at(text, 0).length_bytes != text.size()) {
    field.corrupt("must be one character");
  }
  return text;
}

Regex regex_of(const JsonField& pattern) {
  if (is_literal_pattern(pattern)) {
    const JsonField text = pattern.at("String");
    return Regex::literal(text.string(), text.where(), text.path());
  }
  const JsonField text = pattern.at("Regex");
  return Regex(text.string(), text.where(), text.path());
}

SplitBehavior parse_behavior(const JsonField& field) {
  static const std::map<std::string, SplitBehavior, std::less<>> kNames = {
      {"Removed", SplitBehavior::kRemoved},
      {"Isolated", SplitBehavior::kIsolated},
      {"MergedWithPrevious", SplitBehavior::kMergedWithPrevious},
      {"MergedWithNext", SplitBehavior::kMergedWithNext},
      {"Contiguous", SplitBehavior::kContiguous},
  };
  const auto found = kNames.find(field.string());
  if (found == kNames.end()) {
    field.unsupported("is no known behaviour",
                      "known: Removed Isolated MergedWithPrevious MergedWithNext Contiguous");
  }
  return found->second;
}

PrependScheme parse_prepend_scheme(const JsonField& owner) {
  const auto field = owner.find("prepend_scheme");
  const bool never = !owner.boolean_or("add_prefix_space", true);
  if (!field) return never ? PrependScheme::kNever : PrependScheme::kAlways;
  const std::string name = field->string();
  if (never && name != "never") field->corrupt("contradicts add_prefix_space false");
  if (name == "always") return PrependScheme::kAlways;
  if (name == "first") return PrependScheme::kFirst;
  if (name == "never") return PrependScheme::kNever;
  field->unsupported("is no known scheme", "known: always first never");
}

void expect_metaspace_members(const JsonField& field) {
  field.expect_only(
      {"type", "replacement", "add_prefix_space", "prepend_scheme", "split", "str_rep"});
}

void expect_byte_level_members(const JsonField& field) {
  field.expect_only({"type", "add_prefix_space", "trim_offsets", "use_regex"});
}

void append_decoder(const JsonField& field, std::vector<DecoderStepPtr>& steps) {
  const std::string type = type_of(field);
  const auto refuse_after_join = [&] {
    for (const DecoderStepPtr& step : steps) {
      if (step->fuses()) field.at("type").unsupported("after a decoder that joins all tokens");
    }
  };
  if (type == "Sequence") {
    field.expect_only({"type", "decoders"});
    for (const JsonField& item : field.at("decoders").items()) append_decoder(item, steps);
  } else if (type == "ByteLevel") {
    expect_byte_level_members(field);
    refuse_after_join();
    steps.push_back(make_byte_level_decoder());
  } else if (type == "ByteFallback") {
    field.expect_only({"type"});
    refuse_after_join();
    steps.push_back(make_byte_fallback_decoder());
  } else if (type == "Fuse") {
    field.expect_only({"type"});
    steps.push_back(make_fuse_decoder());
  } else if (type == "Metaspace") {
    expect_metaspace_members(field);
    steps.push_back(make_metaspace_decoder(one_char(field.at("replacement")),
                                           parse_prepend_scheme(field) != PrependScheme::kNever));
  } else if (type == "Replace") {
    field.expect_only({"type", "pattern", "content"});
    const JsonField pattern = field.at("pattern");
    std::string content = field.at("content").string();
    if (is_literal_pattern(pattern)) {
      steps.push_back(make_replace_decoder(pattern.at("String").string(), std::move(content)));
    } else {
      steps.push_back(make_replace_decoder(std::make_shared<const Regex>(regex_of(pattern)),
                                           std::move(content)));
    }
  } else if (type == "Strip") {
    field.expect_only({"type", "content", "start", "stop"});
    constexpr int64_t kMaxStrip = 1 << 20;
    steps.push_back(make_strip_decoder(
        one_char(field.at("content")), static_cast<size_t>(field.at("start").integer(0, kMaxStrip)),
        static_cast<size_t>(field.at("stop").integer(0, kMaxStrip))));
  } else {
    unknown_type(field, "Sequence ByteLevel ByteFallback Fuse Metaspace Replace Strip");
  }
}

// ["<s>", 1]
TokenId token_of_pair(const JsonField& field) {
  const std::vector<JsonField> pair = field.items();
  if (pair.size() != 2) field.corrupt("must be a token and its id");
  static_cast<void>(pair[0].string());
  return static_cast<TokenId>(pair[1].integer(0, kMaxTokenId));
}

SurroundingTokens parse_template(const JsonField& field) {
  field.expect_only({"type", "single", "pair", "special_tokens"});
  const JsonField special = field.at("special_tokens");
  SurroundingTokens tokens;
  bool text_seen = false;
  for (const JsonField& item : field.at("single").items()) {
    item.expect_only({"SpecialToken", "Sequence"});
    if (const auto sequence = item.find("Sequence")) {
      sequence->expect_only({"id", "type_id"});
      const JsonField id = sequence->at("id");
      if (id.string() != "A" || text_seen) id.unsupported("only one text, A, can be encoded");
      text_seen = true;
      continue;
    }
    const JsonField name = item.at("SpecialToken").at("id");
    for (const JsonField& id : special.at(name.string()).at("ids").items()) {
      const auto token = static_cast<TokenId>(id.integer(0, kMaxTokenId));
      (text_seen ? tokens.after : tokens.before).push_back(token);
    }
  }
  if (!text_seen) field.at("single").unsupported("a template without the text A");
  return tokens;
}

}  // namespace

bool is_literal_pattern(const JsonField& field) {
  field.expect_only({"String", "Regex"});
  if (field.value().size() != 1) field.corrupt("must have one member, String or Regex");
  return field.find("String").has_value();
}

NormalizerPtr parse_normalizer(const JsonField& field) {
  const std::string type = type_of(field);
  if (type == "Sequence") {
    field.expect_only({"type", "normalizers"});
    std::vector<NormalizerPtr> steps;
    for (const JsonField& item : field.at("normalizers").items()) {
      steps.push_back(parse_normalizer(item));
    }
    return make_sequence_normalizer(std::move(steps));
  }
  if (type == "Prepend") {
    field.expect_only({"type", "prepend"});
    return make_prepend_normalizer(field.at("prepend").string());
  }
  if (type == "Replace") {
    field.expect_only({"type", "pattern", "content"});
    const JsonField pattern = field.at("pattern");
    std::string content = field.at("content").string();
    if (is_literal_pattern(pattern)) {
      return make_replace_normalizer(pattern.at("String").string(), std::move(content));
    }
    return make_replace_normalizer(regex_of(pattern), std::move(content));
  }
  if (type == "Strip") {
    field.expect_only({"type", "strip_left", "strip_right"});
    return make_strip_normalizer(field.at("strip_left").boolean(),
                                 field.at("strip_right").boolean());
  }
  static const std::map<std::string, NormalizationForm, std::less<>> kForms = {
      {"NFC", NormalizationForm::kNfc},
      {"NFD", NormalizationForm::kNfd},
      {"NFKC", NormalizationForm::kNfkc},
      {"NFKD", NormalizationForm::kNfkd},
  };
  const auto form = kForms.find(type);
  if (form == kForms.end() && type != "Lowercase" && type != "StripAccents") {
    unknown_type(field, "Sequence NFC NFD NFKC NFKD Prepend Replace Lowercase Strip StripAccents");
  }
  field.expect_only({"type"});
  if (type == "Lowercase") return make_lowercase_normalizer();
  if (type == "StripAccents") return make_strip_accents_normalizer();
  return make_unicode_normalizer(form->second);
}

PreTokenizerPtr parse_pre_tokenizer(const JsonField& field) {
  const std::string type = type_of(field);
  if (type == "Sequence") {
    field.expect_only({"type", "pretokenizers"});
    std::vector<PreTokenizerPtr> steps;
    for (const JsonField& item : field.at("pretokenizers").items()) {
      steps.push_back(parse_pre_tokenizer(item));
    }
    return make_sequence_pre_tokenizer(std::move(steps));
  }
  if (type == "ByteLevel") {
    expect_byte_level_members(field);
    return make_byte_level_pre_tokenizer(field.at("add_prefix_space").boolean(),
                                         field.boolean_or("use_regex", true));
  }
  if (type == "Split") {
    field.expect_only({"type", "pattern", "behavior", "invert"});
    return make_split_pre_tokenizer(regex_of(field.at("pattern")),
                                    parse_behavior(field.at("behavior")),
                                    field.at("invert").boolean());
  }
  if (type == "Digits") {
    field.expect_only({"type", "individual_digits"});
    return make_digits_pre_tokenizer(field.at("individual_digits").boolean());
  }
  if (type == "Metaspace") {
    expect_metaspace_members(field);
    return make_metaspace_pre_tokenizer(one_char(field.at("replacement")),
                                        parse_prepend_scheme(field),
                                        field.boolean_or("split", true));
  }
  if (type == "Punctuation") {
    field.expect_only({"type", "behavior"});
    const auto behavior = field.find("behavior");
    return make_punctuation_pre_tokenizer(behavior ? parse_behavior(*behavior)
                                                   : SplitBehavior::kIsolated);
  }
  if (type == "Whitespace" || type == "WhitespaceSplit") {
    field.expect_only({"type"});
    return type == "Whitespace" ? make_white_space_pre_tokenizer()
                                : make_white_space_split_pre_tokenizer();
  }
  unknown_type(field,
               "Sequence ByteLevel Split Digits Metaspace Punctuation Whitespace WhitespaceSplit");
}

std::vector<DecoderStepPtr> parse_decoder(const JsonField& field) {
  std::vector<DecoderStepPtr> steps;
  append_decoder(field, steps);
  return steps;
}

SurroundingTokens parse_post_processor(const JsonField& field) {
  const std::string type = type_of(field);
  if (type == "ByteLevel") {
    expect_byte_level_members(field);  // it moves offsets, which dak does not give
    return {};
  }
  if (type == "TemplateProcessing") return parse_template(field);
  if (type == "BertProcessing" || type == "RobertaProcessing") {
    field.expect_only({"type", "sep", "cls", "trim_offsets", "add_prefix_space"});
    return {{token_of_pair(field.at("cls"))}, {token_of_pair(field.at("sep"))}};
  }
  if (type == "Sequence") {
    field.expect_only({"type", "processors"});
    SurroundingTokens tokens;
    for (const JsonField& item : field.at("processors").items()) {
      SurroundingTokens outer = parse_post_processor(item);
      tokens.before.insert(tokens.before.begin(), outer.before.begin(), outer.before.end());
      tokens.after.insert(tokens.after.end(), outer.after.begin(), outer.after.end());
    }
    return tokens;
  }
  unknown_type(field, "ByteLevel TemplateProcessing BertProcessing RobertaProcessing Sequence");
}

}  // namespace dak
