#include "text/gguf_pre_tokenizers.h"

#include <array>
#include <span>
#include <utility>

#include "base/error.h"

namespace dak {
namespace {

// As the models' own tokenizer.json files have them; each is applied to what the one before left.
constexpr std::array<std::string_view, 1> kLlama3 = {
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}|)"
    R"( ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)"};
constexpr std::array<std::string_view, 1> kQwen2 = {
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}|)"
    R"( ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)"};
constexpr std::array<std::string_view, 1> kTekken = {
    R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|)"
    R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|\p{N}|)"
    R"( ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+)"};
constexpr std::array<std::string_view, 3> kDeepseekV3 = {
    R"(\p{N}{1,3})", R"([一-龥぀-ゟ゠-ヿ]+)",
    R"([!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+|)"
    R"( ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)"};
constexpr std::array<std::string_view, 5> kDeepseekCoder = {
    R"([\r\n])", R"(\s?\p{L}+)", R"(\s?\p{P}+)", R"([一-龥ࠀ-一가-퟿]+)", R"(\p{N})"};
constexpr std::array<std::string_view, 1> kGpt2 = {kGpt2Pattern};
constexpr std::array<std::string_view, 2> kSmollm = {R"(\p{N})", kGpt2[0]};
constexpr std::array<std::string_view, 4> kDefault = {R"([\p{P}\$\+<=>\^~\|]+)", kGpt2[0],
                                                      R"(\p{N}+)", R"([0-9][0-9][0-9])"};

struct Known {
  std::string_view name;
  std::span<const std::string_view> patterns;
  bool nfc = false;
  bool ignore_merges = false;
  bool add_bos = false;
};

constexpr std::array kKnown = {
    Known{"default", kDefault},
    Known{"gpt-2", kGpt2},
    Known{"phi-2", kGpt2},
    Known{"smollm", kSmollm},
    Known{"starcoder", kSmollm},
    Known{"llama-bpe", kLlama3, false, true, true},
    Known{"llama3", kLlama3, false, true, true},
    Known{"llama-v3", kLlama3, false, true, true},
    Known{"qwen2", kQwen2, true},
    Known{"deepseek-r1-qwen", kQwen2, true},
    Known{"deepseek-coder", kDeepseekCoder},
    Known{"deepseek-v3", kDeepseekV3},
    Known{"tekken", kTekken, false, true, true},
};

}  // namespace

GgufPreTokenizer make_gguf_pre_tokenizer(std::string_view name, bool add_prefix_space,
                                         std::string_view where) {
  constexpr std::string_view kKey = "tokenizer.ggml.pre";
  std::string names;
  for (const Known& known : kKnown) {
    names += fmt::format(" {}", known.name);
    if (known.name != name) continue;
    std::vector<PreTokenizerPtr> steps;
    // A prefix space comes before any split.
    if (add_prefix_space) steps.push_back(make_prefix_space_pre_tokenizer());
    for (const std::string_view pattern : known.patterns) {
      steps.push_back(
          make_split_pre_tokenizer(Regex(pattern, where, kKey), SplitBehavior::kIsolated, false));
    }
    steps.push_back(make_byte_level_pre_tokenizer(/*add_prefix_space=*/false, /*use_regex=*/false));
    return {known.nfc ? make_unicode_normalizer(NormalizationForm::kNfc) : nullptr,
            make_sequence_pre_tokenizer(std::move(steps)), known.ignore_merges, known.add_bos};
  }
  throw_unsupported(where, kKey, name, "dak does not know this pre-tokenizer", "known:" + names);
}

}  // namespace dak
