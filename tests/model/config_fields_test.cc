// Fields of config.json and GGUF metadata that change the result: used, or refused by name.
#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>
#include <limits>
#include <nlohmann/json.hpp>

#include "base/file.h"
#include "format/model_json.h"
#include "model/config.h"
#include "model/family.h"
#include "support/throws_error.h"

namespace dak {
namespace {

using test::throws_error;

const std::filesystem::path kData = std::filesystem::path(DAK_TEST_DATA) / "model";

Json config_of(const std::string& model) {
  return read_model_json(kData / "hf" / model / "config.json");
}

ModelConfig parse(const Json& json) { return parse_hf_config(json, "config.json"); }

// The name of a model of each family, and its config.json with more fields.
Json with(const std::string& model, const Json& more) {
  Json json = config_of(model);
  json.update(more);
  return json;
}

std::vector<int64_t> windows_of(const ModelConfig& config) {
  std::vector<int64_t> windows;
  for (int64_t i = 0; i < config.layers; ++i) windows.push_back(config.window_of_layer(i));
  return windows;
}

TEST(ConfigFields, AMissingFieldMeansWhatItsClassMeans) {
  struct Case {
    const char* model;
    const char* field;
    Json same;  // written out
  };
  const Case cases[] = {
      {"llama_mha", "rms_norm_eps", 1e-6},
      {"qwen2", "rms_norm_eps", 1e-6},
      {"mistral", "sliding_window", 4096},
      {"mistral", "max_position_embeddings", 131072},
      {"qwen2", "use_sliding_window", false},
      {"qwen3", "head_dim", 128},
      {"llama_mha", "num_key_value_heads", 6},
      {"llama_mha", "tie_word_embeddings", false},
      {"opt", "tie_word_embeddings", true},
      {"opt", "activation_function", "relu"},
      {"opt", "do_layer_norm_before", true},
      {"llama_mha", "hidden_act", "silu"},
      {"llama3_gqa", "attention_bias", false},
      {"qwen3", "max_position_embeddings", 32768},
      {"llama_mha", "eos_token_id", 2},
      {"qwen2", "eos_token_id", nullptr},
      {"llama_mha", "rope_parameters", {{"rope_type", "default"}, {"rope_theta", 10000.0}}},
  };
  for (const Case& c : cases) {
    SCOPED_TRACE(std::string(c.model) + " " + c.field);
    const ModelConfig written = parse(with(c.model, {{c.field, c.same}}));
    Json json = config_of(c.model);
    json.erase(c.field);
    const ModelConfig missing = parse(json);
    EXPECT_EQ(missing.norm_epsilon, written.norm_epsilon);
    EXPECT_EQ(missing.sliding_window, written.sliding_window);
    EXPECT_EQ(missing.context_length, written.context_length);
    EXPECT_EQ(missing.head_size, written.head_size);
    EXPECT_EQ(missing.kv_heads, written.kv_heads);
    EXPECT_EQ(missing.tied_embeddings, written.tied_embeddings);
    EXPECT_EQ(missing.activation, written.activation);
    EXPECT_EQ(missing.norm_before, written.norm_before);
    EXPECT_EQ(missing.qkv_bias, written.qkv_bias);
    EXPECT_EQ(missing.eos_tokens, written.eos_tokens);
    EXPECT_EQ(missing.rope.theta, written.rope.theta);
    EXPECT_EQ(missing.rope.scaling, written.rope.scaling);
  }
  Json json = config_of("mistral");
  json.erase("num_key_value_heads");  // the class's 8 do not divide the 4 heads
  EXPECT_TRUE(throws_error(ErrorCode::kInvalidArgument, {"num_key_value_heads", "'8'"},
                           [&] { parse(json); }));
}

TEST(ConfigFields, NullIsWhatItsClassMeansByIt) {
  EXPECT_EQ(parse(with("mistral", {{"sliding_window", nullptr}})).sliding_window, 0);
  EXPECT_EQ(parse(with("llama3_gqa", {{"num_key_value_heads", nullptr}})).kv_heads, 4);
  EXPECT_EQ(parse(with("llama3_gqa", {{"head_dim", nullptr}})).head_size, 16);
  EXPECT_TRUE(parse(with("llama3_gqa", {{"eos_token_id", nullptr}})).eos_tokens.empty());
  for (const char* field : {"rms_norm_eps", "tie_word_embeddings", "hidden_act", "hidden_size"}) {
    EXPECT_TRUE(throws_error(ErrorCode::kCorrupt, {field, "null is not a value of it"}, [&] {
      parse(with("llama3_gqa", {{field, nullptr}}));
    }));
  }
  EXPECT_TRUE(throws_error(ErrorCode::kCorrupt, "head_dim", [] {
    parse(with("qwen3", {{"head_dim", nullptr}}));
  }));
}

TEST(ConfigFields, LayerTypes) {
  const char* kFull = "full_attention";
  const char* kSliding = "sliding_attention";
  for (const char* model : {"qwen2", "qwen3"}) {
    const Json on{{"use_sliding_window", true}, {"sliding_window", 16}, {"layer_types", nullptr}};
    Json json = with(model, on);
    json["max_window_layers"] = 1;
    EXPECT_EQ(windows_of(parse(json)), (std::vector<int64_t>{0, 16})) << model;
    json["max_window_layers"] = 28;
    EXPECT_EQ(windows_of(parse(json)), (std::vector<int64_t>{0, 0})) << model;
    json["layer_types"] = {kSliding, kFull};  // overrules max_window_layers
    EXPECT_EQ(windows_of(parse(json)), (std::vector<int64_t>{16, 0})) << model;
    json["sliding_window"] = nullptr;
    EXPECT_EQ(windows_of(parse(json)), (std::vector<int64_t>{0, 0})) << model;
    json["sliding_window"] = 16;
    json["use_sliding_window"] = false;
    EXPECT_EQ(windows_of(parse(json)), (std::vector<int64_t>{0, 0})) << model;
  }
  EXPECT_EQ(windows_of(parse(with("mistral", {{"layer_types", {kFull, kSliding}}}))),
            (std::vector<int64_t>{0, 16}));
  EXPECT_EQ(windows_of(parse(with("llama_mha", {{"layer_types", {kFull, kFull}}}))),
            (std::vector<int64_t>{0, 0}));
  EXPECT_TRUE(
      throws_error(ErrorCode::kUnsupported, {"layer_types", "no layers with a window"}, [&] {
        parse(with("llama_mha", {{"layer_types", {kFull, kSliding}}}));
      }));
  EXPECT_TRUE(
      throws_error(ErrorCode::kCorrupt, {"layer_types", "of 1 layers", "each of the 2"}, [&] {
        parse(with("qwen2", {{"layer_types", Json::array({kFull})}}));
      }));
  EXPECT_TRUE(throws_error(ErrorCode::kUnsupported, {"layer_types", "linear_attention"}, [&] {
    parse(with("qwen2", {{"layer_types", {kFull, "linear_attention"}}}));
  }));
  EXPECT_TRUE(throws_error(ErrorCode::kUnsupported, {"sliding_window", "no window"}, [&] {
    parse(with("llama_mha", {{"sliding_window", 16}}));
  }));
  EXPECT_TRUE(throws_error(ErrorCode::kCorrupt, {"sliding_window", "at least 1"}, [&] {
    parse(with("mistral", {{"sliding_window", 0}}));
  }));
}

TEST(ConfigFields, RefusedByName) {
  const std::pair<const char*, Json> cases[] = {
      {"num_local_experts", 8},
      {"num_experts", 64},
      {"quantization", {{"bits", 4}}},
      {"quantization_config", {{"quant_method", "awq"}}},
      {"attention_multiplier", 0.5},
      {"attn_logit_softcapping", 50.0},
      {"final_logit_softcapping", 30.0},
      {"residual_multiplier", 0.2},
      {"qk_layernorm", true},
      {"rotary_pct", 0.25},
      {"rope_interleaved", true},
      {"scale_embeddings", true},
      {"attention_temperature", 2},
      {"is_encoder_decoder", true},
      {"vision_config", {{"depth", 32}}},
      {"per_layer_config", {{"0", {{"head_dim", 8}}}}},
  };
  for (const auto& [field, value] : cases) {
    EXPECT_TRUE(
        throws_error(ErrorCode::kUnsupported, {"config.json", field}, [key = field, given = value] {
          parse(with("llama3_gqa", {{key, given}}));
        }));
    EXPECT_NO_THROW(parse(with("llama3_gqa", {{field, nullptr}}))) << field;
  }
  EXPECT_TRUE(throws_error(ErrorCode::kUnsupported, "\"quant_method\":\"gptq\"", [] {
    parse(with("llama3_gqa", {{"quantization_config", {{"quant_method", "gptq"}}}}));
  }));
  for (const char* field : {"attn_logit_softcapping", "scale_embeddings", "moe_top_k"}) {
    EXPECT_NO_THROW(parse(with("llama3_gqa", {{field, 0}}))) << field;
  }
}

TEST(ConfigFields, BookkeepingIsIgnoredWhateverItHolds) {
  constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
  for (const auto& [field, value] :
       std::vector<std::pair<const char*, Json>>{{"initializer_range", kNan},
                                                 {"attention_dropout", 0.1},
                                                 {"_attn_implementation_autoset", true},
                                                 {"unsloth_version", "2026.1"},
                                                 {"something_new", {{"a", kNan}}},
                                                 {"use_cache", "yes"},
                                                 {"transformers_version", 5}}) {
    EXPECT_EQ(parse(with("llama3_gqa", {{field, value}})).family, "llama") << field;
  }
  EXPECT_TRUE(throws_error(ErrorCode::kCorrupt, {"rms_norm_eps", "NaN", "finite"}, [&] {
    parse(with("llama3_gqa", {{"rms_norm_eps", kNan}}));
  }));
}

TEST(ConfigFields, TheArchitectureIsNamedOrFollowsFromTheModelType) {
  Json json = config_of("qwen2");
  json.erase("architectures");
  EXPECT_EQ(parse(json).family, "qwen2");
  json["model_type"] = "mixtral";
  json["num_local_experts"] = 8;
  EXPECT_TRUE(throws_error(ErrorCode::kUnsupported,
                           {"model_type", "mixtral", "num_local_experts 8", "LlamaForCausalLM"},
                           [&] { parse(json); }));
  EXPECT_TRUE(
      throws_error(ErrorCode::kUnsupported, {"Gemma9ForCausalLM", "not an architecture"}, [] {
        parse(with("qwen2", {{"architectures", {"Gemma9ForCausalLM"}}}));
      }));
  EXPECT_TRUE(throws_error(ErrorCode::kUnsupported, {"model_type", "mistral", "contradicts"}, [] {
    parse(with("llama_mha", {{"model_type", "mistral"}}));
  }));
}

TEST(ConfigFields, SamplingDefaults) {
  const auto defaults_of = [](const Json& json) {
    ModelConfig config;
    apply_generation_config(json, "g.json", config);
    return config.sampling;
  };
  const SamplingDefaults none = defaults_of({{"eos_token_id", 2}, {"temperature", nullptr}});
  EXPECT_FALSE(none.temperature || none.top_k || none.top_p || none.min_p ||
               none.repetition_penalty || none.max_tokens);
  const SamplingDefaults all = defaults_of({{"do_sample", true},
                                            {"temperature", 0.6},
                                            {"top_k", 20},
                                            {"top_p", 0.95},
                                            {"min_p", 0},
                                            {"repetition_penalty", 1.05},
                                            {"max_new_tokens", 2048},
                                            {"typical_p", 1.0},
                                            {"epsilon_cutoff", 0.0}});
  EXPECT_EQ(all.temperature, 0.6f);
  EXPECT_EQ(all.top_k, 20);
  EXPECT_EQ(all.top_p, 0.95f);
  EXPECT_EQ(all.min_p, 0.0f);
  EXPECT_EQ(all.repetition_penalty, 1.05f);
  EXPECT_EQ(all.max_tokens, 2048);
  EXPECT_EQ(defaults_of({{"do_sample", false}, {"temperature", 0.6}}).temperature, 0.0f);
  for (const Json& wrong :
       {Json{{"temperature", "hot"}}, Json{{"temperature", -1}}, Json{{"top_p", 0}},
        Json{{"top_p", 1.5}}, Json{{"top_k", 2.5}}, Json{{"top_k", -3}}, Json{{"min_p", 2}},
        Json{{"max_new_tokens", 0}}, Json{{"do_sample", 1}}, Json{{"repetition_penalty", 0}}}) {
    const std::string field = wrong.begin().key();
    EXPECT_TRUE(throws_error(ErrorCode::kCorrupt, {"g.json", field}, [&] { defaults_of(wrong); }))
        << wrong;
  }
  for (const Json& other : {Json{{"typical_p", 0.9}}, Json{{"epsilon_cutoff", 1e-3}},
                            Json{{"min_new_tokens", 5}}, Json{{"top_h", 0.4}}}) {
    EXPECT_TRUE(throws_error(ErrorCode::kUnsupported, {"g.json", other.begin().key()}, [&] {
      defaults_of(other);
    })) << other;
  }
}

TEST(ConfigFields, GenerationConfig) {
  ModelConfig config;
  config.eos_tokens = {3};
  apply_generation_config({{"eos_token_id", nullptr}, {"temperature", 0.6}}, "g.json", config);
  EXPECT_EQ(config.eos_tokens, (std::vector<int32_t>{3}));
  for (const char* field : {"suppress_tokens", "forced_eos_token_id", "stop_strings"}) {
    EXPECT_TRUE(throws_error(ErrorCode::kUnsupported, {"g.json", field}, [&] {
      apply_generation_config({{field, {1}}}, "g.json", config);
    }));
  }
}

}  // namespace
}  // namespace dak
