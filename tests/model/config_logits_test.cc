// What a configuration says changes the logits as its long form does: small folders, changed.
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "format/model_json.h"
#include "support/loaded_model.h"
#include "support/throws_error.h"

namespace dak {
namespace {

namespace fs = std::filesystem;
using test::throws_error;

const fs::path kData = fs::path(DAK_TEST_DATA) / "model/hf";

// A copy of a small model whose files a test may change; removed with it.
class Folder {
 public:
  explicit Folder(const std::string& model) {
    std::string path = (fs::temp_directory_path() / "dak_model_XXXXXX").string();
    path_ = mkdtemp(path.data());
    fs::copy(kData / model, path_, fs::copy_options::recursive);
  }
  ~Folder() {
    std::error_code ignored;
    fs::remove_all(path_, ignored);
  }
  Folder(const Folder&) = delete;
  Folder& operator=(const Folder&) = delete;

  const fs::path& path() const { return path_; }
  void change(const Json& more) const {
    Json json = read_model_json(path_ / "config.json");
    json.update(more);
    write("config.json", json.dump());
  }
  void write(const char* name, const std::string& bytes) const {
    std::ofstream(path_ / name, std::ios::binary) << bytes;
  }
  // The header of model.safetensors with `edit` made to it; the data as they are, then `more`.
  template <typename Edit>
  void edit_tensors(Edit edit, const std::string& more = {}) const {
    const std::string bytes = read_text_file(path_ / "model.safetensors");
    const uint64_t length = bytes_of_header(bytes);
    Json header = Json::parse(bytes.substr(8, length));
    edit(header, static_cast<int64_t>(bytes.size() - 8 - length));
    const std::string text = header.dump();
    const uint64_t new_length = text.size();
    std::string out(8, '\0');
    std::memcpy(out.data(), &new_length, 8);
    write("model.safetensors", out + text + bytes.substr(8 + length) + more);
  }
  std::vector<float> logits() const {
    LoadedModel model(path_.string(), {.context = 64, .kv_dtype = DType::kF32}, 64);
    std::vector<int32_t> tokens;
    for (int32_t i = 0; i < 40; ++i) tokens.push_back((i * 37 + 11) % 200);
    KvHold hold;
    return model.run(hold, tokens);
  }

 private:
  static uint64_t bytes_of_header(const std::string& bytes) {
    uint64_t length = 0;
    std::memcpy(&length, bytes.data(), 8);
    return length;
  }
  fs::path path_;
};

TEST(ConfigLogits, LayerTypesAreTheWindowsOfMaxWindowLayers) {
  for (const char* model : {"qwen2", "qwen3"}) {
    const Folder by_number(model);
    by_number.change({{"use_sliding_window", true},
                      {"sliding_window", 8},
                      {"max_window_layers", 1},
                      {"layer_types", nullptr}});
    const Folder by_list(model);
    by_list.change({{"use_sliding_window", true},
                    {"sliding_window", 8},
                    {"max_window_layers", 28},
                    {"layer_types", {"full_attention", "sliding_attention"}}});
    const Folder without(model);
    EXPECT_EQ(by_list.logits(), by_number.logits()) << model;
    EXPECT_NE(by_list.logits(), without.logits()) << model;
  }
}

TEST(ConfigLogits, TiedEmbeddingsByEitherName) {
  const Folder usual("smollm2");
  const std::vector<float> want = usual.logits();
  const Folder renamed("smollm2");
  renamed.edit_tensors([](Json& header, int64_t) {
    header["lm_head.weight"] = header["model.embed_tokens.weight"];
    header.erase("model.embed_tokens.weight");
  });
  EXPECT_EQ(renamed.logits(), want);
  EXPECT_TRUE(open_model(renamed.path(), true).notices.empty());
}

// A copy of the table is tied; another one is not, and the files say so.
TEST(ConfigLogits, TiedEmbeddingsWithBothTensors) {
  const Folder usual("smollm2");
  const std::vector<float> want = usual.logits();
  for (const bool same : {true, false}) {
    const Folder both("smollm2");
    const std::string bytes = read_text_file(both.path() / "model.safetensors");
    std::string copy;
    both.edit_tensors([&](Json& header, int64_t data_bytes) {
      Json& entry = header["model.embed_tokens.weight"];
      const auto begin = entry["data_offsets"][0].get<int64_t>();
      const auto end = entry["data_offsets"][1].get<int64_t>();
      copy = bytes.substr(bytes.size() - static_cast<size_t>(data_bytes - begin),
                          static_cast<size_t>(end - begin));
      header["lm_head.weight"] = entry;
      header["lm_head.weight"]["data_offsets"] = {data_bytes, data_bytes + end - begin};
    });
    if (!same) std::reverse(copy.begin(), copy.end());
    std::ofstream(both.path() / "model.safetensors", std::ios::binary | std::ios::app) << copy;
    const ModelFiles files = open_model(both.path(), true);
    EXPECT_EQ(files.config.tied_embeddings, same);
    EXPECT_EQ(files.notices.size(), same ? 0u : 1u);
    if (same) {
      EXPECT_EQ(both.logits(), want);
    } else {
      EXPECT_NE(files.notices[0].find("lm_head.weight differ"), std::string::npos);
      EXPECT_NE(both.logits(), want);
    }
  }
}

TEST(ConfigLogits, TensorsThatAreNotNeededMayBeOfAnyType) {
  const Folder usual("qwen3");
  const std::vector<float> want = usual.logits();
  const Folder more("qwen3");
  more.edit_tensors(
      [](Json& header, int64_t data_bytes) {
        header["vision.q.weight"] = {
            {"dtype", "F8_E4M3"}, {"shape", {4}}, {"data_offsets", {data_bytes, data_bytes + 4}}};
        header["marker"] = {
            {"dtype", "F32"}, {"shape", {0}}, {"data_offsets", {data_bytes, data_bytes}}};
      },
      std::string(4, '\0'));
  EXPECT_EQ(more.logits(), want);
  const Folder needed("qwen3");
  needed.edit_tensors([](Json& header, int64_t) {
    Json& entry = header["model.norm.weight"];
    const auto& span = entry["data_offsets"];
    const int64_t bytes = span[1].get<int64_t>() - span[0].get<int64_t>();
    entry["dtype"] = "F8_E4M3";
    entry["shape"] = {bytes};
  });
  // The shape disagrees first; both name the tensor.
  EXPECT_TRUE(throws_error(ErrorCode::kCorrupt, "model.norm.weight",
                           [&] { open_model(needed.path(), true); }));
}

TEST(ModelFolder, RefusalsSayTheTrueReason) {
  const Folder adapter("smollm2");
  adapter.write("adapter_config.json", R"({"base_model_name_or_path": "base/model"})");
  EXPECT_TRUE(throws_error(ErrorCode::kUnsupported, {"adapter of base/model", "merge"},
                           [&] { open_model(adapter.path(), true); }));
  const Folder untold("smollm2");
  Json config = read_model_json(untold.path() / "config.json");
  config.erase("hidden_size");
  untold.write("config.json", config.dump());
  EXPECT_TRUE(throws_error(ErrorCode::kCorrupt, {"lacks fields", "hidden_size 4096"},
                           [&] { open_model(untold.path(), true); }));
  const Folder silent("llama3_gqa");
  EXPECT_TRUE(throws_error(ErrorCode::kNotFound, {"tokenizer.json", "is missing"},
                           [&] { open_model(silent.path(), true).load_tokenizer(); }));
  silent.write("tokenizer.model", "x");
  EXPECT_TRUE(throws_error(ErrorCode::kNotFound, {"tokenizer.model is there", "save_pretrained"},
                           [&] { open_model(silent.path(), true).load_tokenizer(); }));
}

TEST(ModelFolder, ATemplateThatCannotBeUsedRefusesChatOnly) {
  const Folder folder("smollm2");
  for (const char* source : {"{% include 'x' %}", "", "{{ 99999999999999999999 }}"}) {
    folder.write("chat_template.jinja", source);
    const ModelFiles files = open_model(folder.path(), true);
    EXPECT_NO_THROW(files.load_tokenizer());
    const std::optional<ChatTemplate> chat = files.load_chat_template();
    ASSERT_TRUE(chat.has_value());
    ASSERT_NE(chat->fault(), nullptr) << source;
    EXPECT_FALSE(chat->fault()->info().problem.empty());
  }
}

}  // namespace
}  // namespace dak
