#include "text/tokenizer_keys.h"

namespace dak {

const ConfigKeys& tokenizer_config_keys() {
  using enum KeyUse;
  constexpr std::string_view kBatches = "about batches and lengths of Python calls";
  constexpr std::string_view kSaid = "tokenizer.json says it";
  constexpr std::string_view kBookkeeping = "bookkeeping";
  static const ConfigKeys keys{
      {"bos_token", kUsed, "null", "a special token; null: none", true},
      {"eos_token", kUsed, "null", "a special token, ends an answer; null: none", true},
      {"unk_token", kUsed, "null", "a special token; null: none", true},
      {"sep_token", kUsed, "null", "a special token; null: none", true},
      {"pad_token", kUsed, "null", "a special token; null: none", true},
      {"cls_token", kUsed, "null", "a special token; null: none", true},
      {"mask_token", kUsed, "null", "a special token; null: none", true},
      {"added_tokens_decoder", kUsed, "null",
       "tokens that tokenizer.json lacks, or has otherwise; null: special_tokens_map.json and "
       "added_tokens.json count",
       true},
      {"extra_special_tokens", kUsed, "null", "special tokens, a list or by name", true},
      {"additional_special_tokens", kUsed, "null", "older name of extra_special_tokens", true},
      {"add_bos_token", kUsed, "null", "before a prompt; null: as tokenizer.json has it", true},
      {"add_eos_token", kUsed, "null", "after a prompt; null: as tokenizer.json has it", true},
      {"chat_template", kUsed, "null", "null: chat_template.jinja, or the model cannot chat", true},
      {"split_special_tokens", kMustBe, "[false]",
       "special tokens in text are tokens here unless a request asks otherwise"},
      {"fix_mistral_regex", kMustBe, "[false]", "rewriting tokenizer.json is not supported"},
      {"add_prefix_space", kIgnored, {}, kSaid},
      {"legacy", kIgnored, {}, kSaid},
      {"from_slow", kIgnored, {}, kSaid},
      {"do_lower_case", kIgnored, {}, kSaid},
      {"sp_model_kwargs", kIgnored, {}, kSaid},
      {"tokenizer_class", kIgnored, {}, kSaid},
      {"clean_up_tokenization_spaces", kIgnored, {}, "text is what the tokens spell"},
      {"spaces_between_special_tokens", kIgnored, {}, "text is what the tokens spell"},
      {"errors", kIgnored, {}, "text is what the tokens spell"},
      {"use_default_system_prompt", kIgnored, {}, "the chat template says it"},
      {"model_max_length", kIgnored, {}, "config.json says what the context is"},
      {"max_len*", kIgnored, {}, kBatches},
      {"pad*", kIgnored, {}, kBatches},
      {"trunc*", kIgnored, {}, kBatches},
      {"stride", kIgnored, {}, kBatches},
      {"return_*", kIgnored, {}, kBatches},
      {"model_input_names", kIgnored, {}, kBatches},
      {"*_file", kIgnored, {}, kBookkeeping},
      {"name_or_path", kIgnored, {}, kBookkeeping},
      {"backend", kIgnored, {}, kBookkeeping},
      {"is_local", kIgnored, {}, kBookkeeping},
      {"auto_map", kIgnored, {}, "dak runs no code of models"},
      {"processor_class", kIgnored, {}, "of images and sounds"},
      {"unsloth*", kIgnored, {}, kBookkeeping},
      {"*_token", kUsed, "null", "a special token, whatever its name; null: none", true},
  };
  return keys;
}

}  // namespace dak
