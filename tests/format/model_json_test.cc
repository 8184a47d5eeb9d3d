#include "format/model_json.h"

#include <gtest/gtest.h>

#include <cmath>
#include <nlohmann/json.hpp>

#include "byte_images.h"
#include "format/gguf.h"
#include "format/safetensors.h"

namespace dak {
namespace {

// What lies in place of a file that was not fetched says so, whatever the file should have been.
TEST(StandIns, AreNamedInEveryKindOfFile) {
  struct Case {
    std::string text;
    std::string words;
  };
  const Case cases[] = {
      {"version https://git-lfs.github.com/spec/v1\noid sha256:aa\nsize 12\n", "Git LFS pointer"},
      {"# xet version 0\nfilesize = 3\n", "Xet pointer"},
      {"<!DOCTYPE html>\n<html>401</html>", "page of a web server"},
      {"\n <html><body>", "page of a web server"},
      {"<?xml version=\"1.0\"?><Error><Code>AccessDenied</Code></Error>", "page of a web server"},
  };
  const TemporaryFolder folder;
  for (const Case& c : cases) {
    const std::string file = folder.write("model.safetensors", c.text).string();
    expect_error([&] { open_safetensors(folder.path()); }, ErrorCode::kNotFound, {file, c.words});
    const auto gguf = folder.write("model.gguf", c.text);
    expect_error([&] { open_gguf(gguf); }, ErrorCode::kNotFound, {gguf.string(), c.words});
    const auto json = folder.write("config.json", c.text);
    expect_error([&] { read_model_json(json); }, ErrorCode::kNotFound, {json.string(), c.words});
  }
  const auto empty = folder.write("config.json", "");
  expect_error([&] { read_model_json(empty); }, ErrorCode::kCorrupt, {"is empty"});
}

TEST(PythonJson, NumbersThatJsonCannotWrite) {
  const Json json = parse_python_json(
      R"({"a": NaN, "b": [Infinity, -Infinity, 1], "c": "NaN \" Infinity", "d": 1e999,
          "e": {"__float__": "NaN"}, "f": -1E+400, "g": -5, "h": {"__float__": "x"}})",
      "config.json");
  EXPECT_TRUE(std::isnan(json["a"].get<double>()));
  EXPECT_TRUE(std::isinf(json["b"][0].get<double>()) && json["b"][0] > 0);
  EXPECT_LT(json["b"][1].get<double>(), 0);
  EXPECT_EQ(json["b"][2], 1);
  EXPECT_EQ(json["c"], "NaN \" Infinity");
  EXPECT_EQ(json_text(json["d"]), "Infinity");
  EXPECT_EQ(json_text(json["e"]), "NaN");
  EXPECT_EQ(json_text(json["f"]), "-Infinity");
  EXPECT_EQ(json["g"], -5);
  EXPECT_EQ(json["h"]["__float__"], "x");
}

TEST(PythonJson, AsPythonReadsIt) {
  EXPECT_EQ(parse_python_json(R"({"a": 1, "a": 2})", "c")["a"], 2);  // the last one counts
  EXPECT_EQ(parse_python_json("\xef\xbb\xbf{\"a\": 1}", "c")["a"], 1);
  EXPECT_TRUE(parse_python_json("[" + std::string(400, '9') + "]", "c")[0].is_number());
  for (const char* text : {"{\"a\": nan}", "{\"a\": inf}", "{NaN: 1}", "{\"a\": NaNa}",
                           "{\"a\": +Infinity}", "{\"a\": -}", "{\"a\": 1e}", "{\"a\": \"x"}) {
    expect_error([&] { parse_python_json(text, "config.json"); }, ErrorCode::kCorrupt,
                 {"config.json", "not valid JSON"});
  }
  expect_error([&] { parse_json("[NaN]", "request"); }, ErrorCode::kCorrupt, {"not valid JSON"});
}

TEST(NoSafetensors, TheFolderSaysWhatItHolds) {
  const std::pair<const char*, const char*> cases[] = {
      {"pytorch_model.bin", "no pickles"},
      {"pytorch_model-00001-of-00002.bin", "no pickles"},
      {"consolidated.00.pth", "no pickles"},
      {"model-Q4_K_M.gguf", "give that file itself"},
      {"adapter_model.safetensors", "merge the adapter"},
      {"consolidated.safetensors", "Mistral's own names"},
      {"tf_model.h5", "fetch the safetensors"},
  };
  for (const auto& [name, words] : cases) {
    const TemporaryFolder folder;
    folder.write(name, "x");
    expect_error([&] { open_safetensors(folder.path()); }, ErrorCode::kNotFound, {name, words});
  }
}

}  // namespace
}  // namespace dak
