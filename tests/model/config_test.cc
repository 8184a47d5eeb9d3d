#include "model/config.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/file.h"
#include "base/json.h"
#include "support/throws_error.h"

namespace dak {
namespace {

const std::filesystem::path kData = std::filesystem::path(DAK_TEST_DATA) / "model";

Json read_json(const std::filesystem::path& path) {
  return parse_json(read_text_file(path), path.string());
}

Json llama() { return read_json(kData / "hf" / "llama3_gqa" / "config.json"); }

// transformers 4 and 5 write the same model differently.
TEST(HfConfig, OldAndNewSpellingsAgree) {
  int compared = 0;
  for (const auto& entry : std::filesystem::directory_iterator(kData / "configs_v4")) {
    const std::string name = entry.path().stem().string();
    const ModelConfig old_style = parse_hf_config(read_json(entry.path()), name);
    const ModelConfig new_style =
        parse_hf_config(read_json(kData / "hf" / name / "config.json"), name);
    EXPECT_EQ(old_style.family, new_style.family) << name;
    EXPECT_EQ(old_style.head_size, new_style.head_size) << name;
    EXPECT_EQ(old_style.kv_heads, new_style.kv_heads) << name;
    EXPECT_EQ(old_style.intermediate, new_style.intermediate) << name;
    EXPECT_EQ(old_style.rope.theta, new_style.rope.theta) << name;
    EXPECT_EQ(old_style.rope.scaling, new_style.rope.scaling) << name;
    EXPECT_EQ(old_style.rope.factor, new_style.rope.factor) << name;
    EXPECT_EQ(old_style.rope.original_context, new_style.rope.original_context) << name;
    EXPECT_EQ(old_style.tied_embeddings, new_style.tied_embeddings) << name;
    EXPECT_EQ(old_style.stored_dtype, new_style.stored_dtype) << name;
    EXPECT_EQ(old_style.sliding_window, new_style.sliding_window) << name;
    ++compared;
  }
  EXPECT_GE(compared, 7);
}

struct Bad {
  const char* field;
  Json value;
  ErrorCode code;
};

TEST(HfConfig, NamesTheFieldThatIsWrong) {
  const Bad cases[] = {
      {"architectures", Json::array({"GPT9ForCausalLM"}), ErrorCode::kUnsupported},
      {"architectures", "LlamaForCausalLM", ErrorCode::kCorrupt},
      {"hidden_size", "big", ErrorCode::kCorrupt},
      {"hidden_size", 3.5, ErrorCode::kCorrupt},
      {"hidden_size", uint64_t{1} << 63, ErrorCode::kCorrupt},
      {"hidden_size", -64, ErrorCode::kInvalidArgument},
      {"num_hidden_layers", 0, ErrorCode::kInvalidArgument},
      {"num_hidden_layers", 1000000, ErrorCode::kInvalidArgument},
      {"num_key_value_heads", 3, ErrorCode::kInvalidArgument},
      {"num_key_value_heads", 0, ErrorCode::kInvalidArgument},
      {"head_dim", 12, ErrorCode::kUnsupported},
      {"vocab_size", int64_t{1} << 40, ErrorCode::kInvalidArgument},
      {"intermediate_size", 0, ErrorCode::kInvalidArgument},
      {"hidden_act", "sigmoid", ErrorCode::kUnsupported},
      {"dtype", "int4", ErrorCode::kUnsupported},
      {"mlp_bias", true, ErrorCode::kUnsupported},
      {"quantization_config", Json::object(), ErrorCode::kUnsupported},
      {"eos_token_id", "x", ErrorCode::kCorrupt},
      {"tie_word_embeddings", 1, ErrorCode::kCorrupt},
  };
  for (const Bad& bad : cases) {
    Json json = llama();
    json[bad.field] = bad.value;
    EXPECT_TRUE(test::throws_error(bad.code, {"config.json", bad.field},
                                   [&] { parse_hf_config(json, "config.json"); }))
        << bad.field << " " << bad.value.dump();
  }
}

TEST(GenerationConfig, TakesOneTokenOrAList) {
  ModelConfig config;
  apply_generation_config(Json{{"eos_token_id", 7}}, "g", config);
  EXPECT_EQ(config.eos_tokens, std::vector<int32_t>{7});
  apply_generation_config(Json{{"eos_token_id", {7, 9}}, {"bos_token_id", 1}}, "g", config);
  EXPECT_EQ(config.eos_tokens, (std::vector<int32_t>{7, 9}));
  EXPECT_EQ(config.bos_tokens, std::vector<int32_t>{1});
}

}  // namespace
}  // namespace dak
