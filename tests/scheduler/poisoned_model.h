// A tiny model with one token whose embedding is NaN: whoever has it in his text gets NaN for keys,
// values and logits from there on. Its output matrix is another one, so that the token itself is
// chosen as ever.
#pragma once

#include <gtest/gtest.h>
#include <unistd.h>

#include <cstring>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "support/serving.h"

namespace dak::test {

// Overwrites row `token` of the embeddings, bf16, in a safetensors file.
inline void poison_embedding(const std::filesystem::path& file, TokenId token) {
  std::fstream stream(file, std::ios::in | std::ios::out | std::ios::binary);
  uint64_t length = 0;
  stream.read(reinterpret_cast<char*>(&length), sizeof(length));
  std::string header(length, ' ');
  stream.read(header.data(), static_cast<std::streamsize>(length));
  const auto tensor = nlohmann::json::parse(header).at("model.embed_tokens.weight");
  if (tensor.at("dtype") != "BF16") throw std::runtime_error("embeddings that are not bf16");
  const auto columns = tensor.at("shape").at(1).get<uint64_t>();
  const std::vector<uint16_t> row(columns, 0x7fc0);
  stream.seekp(static_cast<std::streamoff>(
      sizeof(length) + length + tensor.at("data_offsets").at(0).get<uint64_t>() +
      static_cast<uint64_t>(token) * columns * sizeof(uint16_t)));
  stream.write(reinterpret_cast<const char*>(row.data()),
               static_cast<std::streamsize>(columns * sizeof(uint16_t)));
  if (!stream.flush()) throw std::runtime_error("the model could not be poisoned");
}

// The tiny Llama 3 (512 tokens of context, 320 of vocabulary) with another tiny model's tokenizer,
// poisoned at `token` unless that is kNoToken.
inline std::unique_ptr<Engine> tiny_llama(const std::string& test_data,
                                          const EngineOptions& options,
                                          const std::vector<Tier>& tiers, TokenId token) {
  namespace fs = std::filesystem;
  const fs::path models = fs::path(test_data) / "model/hf";
  struct Copy {
    fs::path folder = fs::path(testing::TempDir()) / fmt::format("dak-poisoned-{}", getpid());
    ~Copy() { fs::remove_all(folder); }
  } copy;
  fs::remove_all(copy.folder);
  fs::copy(models / "llama3_gqa", copy.folder);
  fs::copy(models / "smollm2/tokenizer.json", copy.folder);
  if (token != kNoToken) poison_embedding(copy.folder / "model.safetensors", token);
  return std::make_unique<Engine>(open_model(copy.folder, true), options, tiers);
}

// Requests side by side on an engine without the poison, and the token that one of them, alone
// among all, chooses in the middle of its answer and never has before.
struct PoisonPlan {
  std::vector<ServingRequest> requests;
  std::vector<Answer> answers;
  size_t victim = 0;
  size_t step = 0;  // of the victim's answer
  TokenId token = kNoToken;
};

inline std::vector<Answer> answers_of(Engine& engine, const std::vector<ServingRequest>& requests) {
  Serving serving(engine);
  for (const ServingRequest& request : requests) serving.submit(request);
  serving.start();
  for (size_t i = 0; i < requests.size(); ++i) serving.wait(i);
  serving.stop();
  return serving.answers();
}

inline PoisonPlan plan_poison(Engine& engine, std::vector<ServingRequest> requests) {
  PoisonPlan plan{.requests = std::move(requests), .answers = {}};
  plan.answers = answers_of(engine, plan.requests);
  const auto count = [&plan](TokenId token) {
    int64_t found = 0;
    for (size_t i = 0; i < plan.requests.size(); ++i) {
      found += std::ranges::count(plan.requests[i].prompt, token);
      found += std::ranges::count(plan.answers[i].tokens, token);
    }
    return found;
  };
  for (; plan.victim < plan.answers.size(); ++plan.victim) {
    const std::vector<TokenId>& tokens = plan.answers[plan.victim].tokens;
    for (plan.step = 3; plan.step + 10 < tokens.size(); ++plan.step) {
      if (count(tokens[plan.step]) != 1) continue;
      plan.token = tokens[plan.step];
      return plan;
    }
  }
  return plan;
}

// The victim has its tokens up to the poisoned one and an error then; the others know nothing of
// it.
inline void expect_the_victim_alone_fails(const PoisonPlan& plan,
                                          const std::vector<Answer>& answers) {
  for (size_t i = 0; i < answers.size(); ++i) {
    SCOPED_TRACE(fmt::format("request {}, the victim is {}", i, plan.victim));
    std::vector<TokenId> wanted = plan.answers[i].tokens;
    EXPECT_EQ(answers[i].ends, 1);
    if (i == plan.victim) {
      wanted.resize(plan.step + 1);
      EXPECT_EQ(answers[i].error, ErrorCode::kInternal);
      EXPECT_NE(answers[i].message.find("NaN"), std::string::npos) << answers[i].message;
    } else {
      EXPECT_EQ(answers[i].reason, plan.answers[i].reason);
    }
    EXPECT_EQ(answers[i].tokens, wanted);
  }
}

}  // namespace dak::test
