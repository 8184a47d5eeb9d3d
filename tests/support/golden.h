// Golden logits of Hugging Face models, as tests/data/model/README.md describes them.
#pragma once

#include <cmath>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <stdexcept>
#include <string>
#include <vector>

#include "base/file.h"
#include "base/json.h"

namespace dak {

struct GoldenPrompt {
  std::string name;
  std::vector<int32_t> ids;
  std::vector<int32_t> greedy_ids;
  int64_t rows = 0;           // 0: no logits
  std::vector<float> logits;  // [rows, vocabulary]
  double tolerance = 0;       // 2x the naive f32 implementation's error, plus storage rounding
  nlohmann::json json;
};

struct Golden {
  std::string model_path;
  std::string weights;
  int64_t vocabulary = 0;
  std::vector<GoldenPrompt> prompts;
};

inline Golden read_golden(const std::filesystem::path& json_path,
                          const std::filesystem::path& data_folder) {
  const Json json = parse_json(read_text_file(json_path), json_path.string());
  const std::string values =
      read_text_file(json_path.parent_path() / json.at("logits_file").get<std::string>());
  Golden golden{.model_path = json.contains("path")
                                  ? (data_folder / json.at("path").get<std::string>()).string()
                                  : "",
                .weights = json.at("weights"),
                .vocabulary = json.at("vocab_size"),
                .prompts = {}};
  for (const Json& entry : json.at("prompts")) {
    GoldenPrompt prompt{.name = entry.at("name"),
                        .ids = entry.at("ids"),
                        .greedy_ids = entry.at("greedy_ids"),
                        .json = entry};
    if (entry.contains("logits_shape")) {
      prompt.rows = entry.at("logits_shape").at(0);
      prompt.logits.resize(static_cast<size_t>(prompt.rows * golden.vocabulary));
      const size_t offset = entry.at("logits_offset_bytes");
      if (offset + prompt.logits.size() * sizeof(float) > values.size()) {
        throw std::runtime_error(json_path.string() + ": logits outside the file");
      }
      std::memcpy(prompt.logits.data(), values.data() + offset,
                  prompt.logits.size() * sizeof(float));
      prompt.tolerance = 2 * entry.at("naive_f32_max_abs_error").get<double>() +
                         entry.at("storage_max_abs_error").get<double>();
    }
    golden.prompts.push_back(std::move(prompt));
  }
  return golden;
}

// Largest |ours - golden|; NaN if either holds one.
inline double max_abs_error(const float* ours, const float* golden, int64_t count) {
  double largest = 0;
  for (int64_t i = 0; i < count; ++i) {
    const double error = std::abs(static_cast<double>(ours[i]) - static_cast<double>(golden[i]));
    if (!(error <= largest)) largest = error;  // a NaN sticks: nothing is <= it
  }
  return largest;
}

}  // namespace dak
