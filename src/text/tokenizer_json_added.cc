#include "text/tokenizer_json_added.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <optional>
#include <utility>

#include "base/json_field.h"
#include "text/tokenizer_keys.h"

namespace dak {
namespace {

constexpr std::array<std::string_view, 7> kNamedTokens{
    "bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token"};

// "<s>", or {"content": "<s>", "lstrip": ...}; without an id yet. `special` overrules the file.
AddedToken parse_token(const JsonField& field, std::optional<bool> special) {
  AddedToken token;
  if (field.value().is_string()) {
    token.content = field.string();
    token.special = special.value_or(true);
    return token;
  }
  field.expect_only(
      {"content", "lstrip", "normalized", "rstrip", "single_word", "special", "__type", "id"});
  token.content = field.at("content").string();
  token.special = special.value_or(field.boolean_or("special", false));
  token.normalized = field.boolean_or("normalized", !token.special);
  token.lstrip = field.boolean_or("lstrip", false);
  token.rstrip = field.boolean_or("rstrip", false);
  token.single_word = field.boolean_or("single_word", false);
  return token;
}

class Adder {
 public:
  Adder(std::vector<AddedToken> added, const Vocabulary& vocabulary) : vocabulary_(vocabulary) {
    tokens_.added = std::move(added);
  }

  // Its flags replace those of a token with the same content; a new one gets the next id, which
  // must be `declared`.
  TokenId add(const JsonField& field, AddedToken token, std::optional<TokenId> declared) {
    if (token.content.empty()) field.corrupt("is an empty token");
    AddedToken* known = find(token.content);
    token.id = known != nullptr ? known->id : id_of(token.content);
    if (declared && *declared != token.id) {
      field.corrupt(fmt::format("'{}' is token {} of the tokenizer, not {}",
                                printable(token.content), token.id, *declared));
    }
    const TokenId id = token.id;
    if (known != nullptr) {
      *known = std::move(token);
    } else {
      tokens_.added.push_back(std::move(token));
    }
    return id;
  }

  // One that is there already stays as it is.
  TokenId add_special(const JsonField& field) {
    AddedToken token = parse_token(field, true);
    if (const AddedToken* known = find(token.content)) return known->id;
    return add(field, std::move(token), std::nullopt);
  }

  NamedTokens tokens_;

 private:
  AddedToken* find(const std::string& content) {
    const auto found = std::ranges::find(tokens_.added, content, &AddedToken::content);
    return found == tokens_.added.end() ? nullptr : &*found;
  }
  TokenId id_of(const std::string& content) const {
    if (const auto token = vocabulary_.find(content)) return *token;
    TokenId next = static_cast<TokenId>(vocabulary_.size());
    for (const AddedToken& token : tokens_.added) next = std::max(next, token.id + 1);
    return next;
  }

  const Vocabulary& vocabulary_;
};

TokenId declared_id(const JsonField& entry, const std::string& key) {
  TokenId id = 0;
  const auto result = std::from_chars(key.data(), key.data() + key.size(), id);
  if (result.ec != std::errc{} || result.ptr != key.data() + key.size() || id < 0 ||
      id > kMaxTokenId) {
    entry.corrupt("does not stand under the id of a token");
  }
  return id;
}

// {"32000": {"content": "<think>", ...}}
void add_decoder(const JsonField& decoder, Adder& adder) {
  if (!decoder.value().is_object()) decoder.corrupt("must be an object from id to token");
  std::map<TokenId, JsonField> by_id;
  for (const auto& [key, value] : decoder.value().items()) {
    const JsonField entry(value, fmt::format("{}.{}", decoder.path(), printable(key)),
                          decoder.where());
    by_id.emplace(declared_id(entry, key), entry);
  }
  for (const auto& [id, entry] : by_id) adder.add(entry, parse_token(entry, std::nullopt), id);
}

// {"<think>": 32000}; those that the configuration calls special are.
void add_legacy(const TokenizerSide& side, const std::vector<std::string>& special, Adder& adder) {
  if (side.json.is_null()) return;
  const JsonField root(side.json, "", side.where);
  if (!side.json.is_object()) root.corrupt("must be an object from token to id");
  std::map<TokenId, std::string> by_id;
  for (const auto& [content, value] : side.json.items()) {
    const JsonField entry(value, printable(content), side.where);
    by_id.emplace(static_cast<TokenId>(entry.integer(0, kMaxTokenId)), content);
  }
  for (const auto& [id, content] : by_id) {
    const JsonField entry(side.json.at(content), printable(content), side.where);
    const bool is_special = std::ranges::find(special, content) != special.end();
    adder.add(entry, {.content = content, .special = is_special, .normalized = !is_special}, id);
  }
}

using Fields = std::vector<std::pair<std::string, JsonField>>;

void append_field(const JsonField& root, const std::string& key, Fields& fields) {
  if (const auto field = root.find(key)) fields.emplace_back(key, *field);
}

// Every special token that the files name, in the order in which transformers adds them: those with
// names, then the lists'.
Fields special_fields(const JsonField& root) {
  Fields fields;
  for (const std::string_view name : kNamedTokens) append_field(root, std::string(name), fields);
  const auto extra = root.find("extra_special_tokens");
  const auto list = extra ? extra : root.find("additional_special_tokens");
  if (list && list->value().is_object()) {
    for (const auto& [key, value] : list->value().items()) append_field(*list, key, fields);
  }
  for (const auto& [key, value] : root.value().items()) {
    const bool named = std::ranges::find(kNamedTokens, key) != kNamedTokens.end();
    if (named || !key.ends_with("_token") || !(value.is_string() || value.is_object())) continue;
    append_field(root, key, fields);
  }
  if (list && list->value().is_array()) {
    for (const JsonField& item : list->items()) fields.emplace_back("", item);
  }
  return fields;
}

}  // namespace

NamedTokens add_side_tokens(std::vector<AddedToken> added, const Vocabulary& vocabulary,
                            const TokenizerSides& sides) {
  Adder adder(std::move(added), vocabulary);
  Json merged = sides.config.json.is_null() ? Json::object() : sides.config.json;
  const JsonField config(merged, "", sides.config.where);
  if (!merged.is_object()) config.corrupt("must be an object");
  check_keys(tokenizer_config_keys(), merged, sides.config.where);
  const auto decoder = config.find("added_tokens_decoder");
  std::string where = sides.config.where;
  if (decoder) {
    add_decoder(*decoder, adder);
  } else if (sides.special_tokens_map.json.is_object()) {
    check_keys(tokenizer_config_keys(), sides.special_tokens_map.json,
               sides.special_tokens_map.where);
    merged.update(sides.special_tokens_map.json);
    where = sides.special_tokens_map.where;
  }
  const Fields fields = special_fields(JsonField(merged, "", where));
  if (!decoder) {
    std::vector<std::string> special;
    for (const auto& [name, field] : fields) special.push_back(parse_token(field, true).content);
    add_legacy(sides.added_tokens, special, adder);
  }
  for (const auto& [name, field] : fields) {
    const TokenId id = adder.add_special(field);
    if (!name.empty()) adder.tokens_.named[name] = id;
  }
  return std::move(adder.tokens_);
}

}  // namespace dak
