#include <algorithm>
#include <set>
#include <utility>

#include "base/json_field.h"
#include "format/model_json.h"
#include "text/tokenizer.h"
#include "text/tokenizer_impl.h"
#include "text/tokenizer_json_added.h"
#include "text/tokenizer_json_steps.h"

namespace dak {
namespace {

// The common case without building the path that only an error needs: there are 100,000s of them.
template <typename Named>
TokenId token_id_of(const Json& value, const Named& named) {
  if (value.is_number_unsigned() && value.get<uint64_t>() <= kMaxTokenId) {
    return value.get<TokenId>();
  }
  return static_cast<TokenId>(named().integer(0, kMaxTokenId));
}

std::unique_ptr<const Vocabulary> parse_vocabulary(const JsonField& field) {
  if (!field.value().is_object()) field.corrupt("must be an object from token to id");
  std::vector<std::pair<std::string, TokenId>> tokens;
  tokens.reserve(field.value().size());
  std::vector<bool> seen;
  for (auto item = field.value().begin(); item != field.value().end(); ++item) {
    const auto named = [&] {
      return JsonField(*item, fmt::format("{}[\"{}\"]", field.path(), printable(item.key())),
                       field.where());
    };
    const TokenId token = token_id_of(*item, named);
    const auto index = static_cast<size_t>(token);
    if (index >= seen.size()) seen.resize(index + 1);
    if (seen[index]) named().corrupt("is the id of another token too");
    seen[index] = true;
    tokens.emplace_back(item.key(), token);
  }
  return std::make_unique<const Vocabulary>(std::move(tokens));
}

using TokenPair = std::pair<std::string_view, std::string_view>;

// "a b", or ["a", "b"] where a token may hold a space; nullopt for anything else.
std::optional<TokenPair> split_merge(const Json& item) {
  const auto text_of = [](const Json& value) {
    return std::string_view(value.get_ref<const std::string&>());
  };
  if (item.is_array()) {
    if (item.size() != 2 || !item[0].is_string() || !item[1].is_string()) return std::nullopt;
    return TokenPair{text_of(item[0]), text_of(item[1])};
  }
  if (!item.is_string()) return std::nullopt;
  const std::string_view text = text_of(item);
  const size_t space = text.find(' ');
  if (space == text.npos || text.find(' ', space + 1) != text.npos) return std::nullopt;
  return TokenPair{text.substr(0, space), text.substr(space + 1)};
}

std::vector<Merge> parse_merges(const JsonField& field, const Vocabulary& vocabulary) {
  if (!field.value().is_array()) field.corrupt("must be an array");
  std::vector<Merge> merges;
  merges.reserve(field.value().size());
  std::string merged;
  for (size_t i = 0; i < field.value().size(); ++i) {
    const Json& item = field.value()[i];
    const auto corrupt = [&](std::string_view problem) {
      JsonField(item, fmt::format("{}[{}]", field.path(), i), field.where()).corrupt(problem);
    };
    if (item.is_string() && item.get_ref<const std::string&>().starts_with("#version")) {
      continue;  // the head line of an old merges.txt
    }
    const auto pair = split_merge(item);
    if (!pair) corrupt("must be two tokens: \"a b\" or [\"a\", \"b\"]");
    const auto token_of = [&](std::string_view text) {
      const auto token = vocabulary.find(text);
      if (!token) corrupt(fmt::format("'{}' is not in model.vocab", printable(text)));
      return *token;
    };
    merged.assign(pair->first).append(pair->second);
    merges.push_back({token_of(pair->first), token_of(pair->second), token_of(merged)});
  }
  return merges;
}

void refuse_affix(const JsonField& model, std::string_view key) {
  const auto affix = model.find(key);
  if (affix && !affix->string().empty()) {
    affix->unsupported("dak knows BPE without affixes only");
  }
}

void parse_model(const JsonField& model, Tokenizer::Impl& impl) {
  const auto type = model.find("type");
  if (type && type->string() != "BPE") {
    type->unsupported("dak knows models of type BPE only");
  }
  model.expect_only({"type", "dropout", "unk_token", "continuing_subword_prefix",
                     "end_of_word_suffix", "fuse_unk", "byte_fallback", "ignore_merges", "vocab",
                     "merges"});
  if (const auto dropout = model.find("dropout")) {
    if (!dropout->value().is_number()) dropout->corrupt("must be a number");
    if (dropout->value().get<double>() != 0) {
      dropout->unsupported("random merges are for training", "set it to null");
    }
  }
  refuse_affix(model, "continuing_subword_prefix");
  refuse_affix(model, "end_of_word_suffix");
  impl.vocabulary = parse_vocabulary(model.at("vocab"));
  BpeOptions options{.unknown = std::nullopt,
                     .fuse_unknown = model.boolean_or("fuse_unk", false),
                     .byte_fallback = model.boolean_or("byte_fallback", false),
                     .ignore_merges = model.boolean_or("ignore_merges", false)};
  if (const auto unknown = model.find("unk_token")) {
    options.unknown = impl.vocabulary->find(unknown->string());
    if (!options.unknown) unknown->corrupt("is not in model.vocab");
  }
  impl.model =
      make_bpe(*impl.vocabulary, parse_merges(model.at("merges"), *impl.vocabulary), options);
}

std::vector<AddedToken> parse_added_tokens(const JsonField& field, const Vocabulary& vocabulary) {
  std::vector<AddedToken> tokens;
  std::set<std::string> seen;
  for (const JsonField& item : field.items()) {
    item.expect_only({"id", "content", "single_word", "lstrip", "rstrip", "normalized", "special"});
    const JsonField id = item.at("id");
    const JsonField content = item.at("content");
    AddedToken token{.id = static_cast<TokenId>(id.integer(0, kMaxTokenId)),
                     .content = content.string(),
                     .special = item.at("special").boolean(),
                     .normalized = item.at("normalized").boolean(),
                     .lstrip = item.at("lstrip").boolean(),
                     .rstrip = item.at("rstrip").boolean(),
                     .single_word = item.at("single_word").boolean()};
    if (token.content.empty()) continue;  // `tokenizers` ignores them as well
    if (!seen.insert(token.content).second) content.corrupt("is there twice");
    const auto known = vocabulary.find(token.content);
    if (known && *known != token.id) {
      id.corrupt(fmt::format("model.vocab has '{}' as {}", printable(token.content), *known));
    }
    tokens.push_back(std::move(token));
  }
  return tokens;
}

// add_bos_token and add_eos_token, where given, overrule the post-processor, as in transformers.
void apply_flag(const JsonField& config, std::string_view key, std::optional<TokenId> token,
                std::vector<TokenId>& tokens) {
  const auto flag = config.find(key);
  if (!flag) return;
  const bool wanted = flag->boolean();
  if (!token) {
    if (wanted) flag->corrupt("the token itself is not named", "add bos_token or eos_token");
    return;
  }
  const bool present = std::find(tokens.begin(), tokens.end(), *token) != tokens.end();
  if (wanted && !present) tokens.insert(tokens.begin(), *token);
  if (!wanted) std::erase(tokens, *token);
}

Tokenizer build(const Json& json, std::string_view where, const TokenizerSides& sides) {
  const JsonField root(json, "", where);
  // truncation and padding are about batches of bounded length; transformers resets them as well.
  root.expect_only({"version", "truncation", "padding", "added_tokens", "normalizer",
                    "pre_tokenizer", "post_processor", "decoder", "model"});
  auto impl = std::make_unique<Tokenizer::Impl>();
  parse_model(root.at("model"), *impl);
  if (const auto field = root.find("normalizer")) impl->normalizer = parse_normalizer(*field);
  if (const auto field = root.find("pre_tokenizer")) {
    impl->pre_tokenizer = parse_pre_tokenizer(*field);
  }
  std::vector<AddedToken> added;
  if (const auto field = root.find("added_tokens")) {
    added = parse_added_tokens(*field, *impl->vocabulary);
  }
  NamedTokens tokens = add_side_tokens(std::move(added), *impl->vocabulary, sides);
  impl->added =
      std::make_unique<const AddedTokens>(std::move(tokens.added), impl->normalizer.get());
  const auto named = [&tokens](const char* name) {
    const auto found = tokens.named.find(name);
    return found == tokens.named.end() ? std::nullopt : std::optional(found->second);
  };
  impl->bos = named("bos_token");
  impl->eos = named("eos_token");
  if (const auto field = root.find("post_processor")) {
    SurroundingTokens around = parse_post_processor(*field);
    impl->before = std::move(around.before);
    impl->after = std::move(around.after);
    for (const std::vector<TokenId>* side : {&impl->before, &impl->after}) {
      for (const TokenId token : *side) {
        if (impl->decoded_text(token) == nullptr) {
          field->corrupt(fmt::format("adds token {}, which does not exist", token));
        }
      }
    }
  }
  if (const auto field = root.find("decoder")) {
    impl->decoder = parse_decoder(*field);
  } else {
    impl->decoder.push_back(make_join_with_spaces_decoder());
  }
  if (sides.config.json.is_object()) {
    const JsonField config(sides.config.json, "", sides.config.where);
    apply_flag(config, "add_bos_token", impl->bos, impl->before);
    apply_flag(config, "add_eos_token", impl->eos, impl->after);
  }
  return Tokenizer(std::move(impl));
}

TokenizerSide parse_side(std::string_view text, std::string where) {
  if (text.empty()) return {.json = nullptr, .where = std::move(where)};
  Json json = parse_python_json(text, where);
  return {.json = std::move(json), .where = std::move(where)};
}

TokenizerSide read_side(const std::filesystem::path& file) {
  if (!std::filesystem::exists(file)) return {.json = nullptr, .where = file.string()};
  return {.json = read_model_json(file), .where = file.string()};
}

}  // namespace

Tokenizer parse_tokenizer_json(std::string_view tokenizer_json, std::string_view config_json,
                               std::string_view where) {
  return build(parse_python_json(tokenizer_json, where), where,
               {.config = parse_side(config_json, fmt::format("{} (tokenizer_config)", where)),
                .special_tokens_map = {},
                .added_tokens = {}});
}

Tokenizer load_tokenizer_json(const std::filesystem::path& folder) {
  const std::filesystem::path file = folder / "tokenizer.json";
  return build(read_model_json(file), file.string(),
               {.config = read_side(folder / "tokenizer_config.json"),
                .special_tokens_map = read_side(folder / "special_tokens_map.json"),
                .added_tokens = read_side(folder / "added_tokens.json")});
}

}  // namespace dak
