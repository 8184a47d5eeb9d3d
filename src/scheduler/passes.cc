#include "scheduler/passes.h"

#include <algorithm>

#include "ops/rows.h"

namespace dak {

void ServingPasses::run(std::span<Part> parts) {
  Batch batch{.kv_dtype = cache().dtype()};
  std::vector<Part*> choosing;
  std::vector<PromptRow> prompts;
  for (Part& part : parts) {
    const KvHold& hold = part.sequence->hold;
    const std::vector<TokenId>& tokens = part.sequence->tokens();
    batch.sequences.push_back(
        {.pages = &hold.pages, .past = hold.tokens, .first_row = batch.rows(), .rows = part.rows});
    const bool told = part.sequence->wants_prompt_logprobs();
    for (int64_t i = hold.tokens; i < hold.tokens + part.rows; ++i) {
      if (told && i + 1 < part.sequence->prompt_tokens()) {
        prompts.push_back({static_cast<int32_t>(batch.rows()), part.sequence, i});
      }
      batch.tokens.push_back(tokens[static_cast<size_t>(i)]);
      batch.positions.push_back(static_cast<int32_t>(i));
    }
    if (hold.tokens + part.rows == std::ssize(tokens)) {
      choosing.push_back(&part);
      batch.logit_rows.push_back(static_cast<int32_t>(batch.rows() - 1));
    }
  }
  engine_.ctx_.traffic = {};
  const Tensor logits =
      engine_.model_->forward(engine_.ctx_, *engine_.weights_, batch, *engine_.workspace_);
  const std::span<const float> values = host_values(engine_.ctx_, logits);
  for (Part& part : parts) part.sequence->hold.tokens += part.rows;

  const auto width = static_cast<size_t>(engine_.config_.vocabulary);
  engine_.pool_->parallel_for(std::ssize(choosing), 1, [&](int64_t begin, int64_t end, int) {
    for (auto i = static_cast<size_t>(begin); i < static_cast<size_t>(end); ++i) {
      choosing[i]->chosen = choosing[i]->sequence->choose(values.subspan(i * width, width));
    }
  });
  note_prompts(prompts);  // last: the logits take the place of those above
  traffic_.add_all(engine_.ctx_.traffic);
}

// As many rows at a time as there is room for logits.
void ServingPasses::note_prompts(std::span<const PromptRow> rows) {
  const auto room = static_cast<size_t>(engine_.workspace_->max_logit_rows());
  const auto width = static_cast<size_t>(engine_.config_.vocabulary);
  std::vector<int32_t> numbers;
  while (!rows.empty()) {
    const std::span<const PromptRow> now = rows.first(std::min(room, rows.size()));
    rows = rows.subspan(now.size());
    numbers.clear();
    for (const PromptRow& one : now) numbers.push_back(one.row);
    const Tensor logits =
        engine_.model_->logits(engine_.ctx_, *engine_.weights_, numbers, *engine_.workspace_);
    const std::span<const float> values = host_values(engine_.ctx_, logits);
    engine_.pool_->parallel_for(std::ssize(now), 1, [&](int64_t begin, int64_t end, int) {
      for (auto i = static_cast<size_t>(begin); i < static_cast<size_t>(end); ++i) {
        now[i].sequence->note_prompt(now[i].position, values.subspan(i * width, width));
      }
    });
  }
}

void ServingPasses::begin_decode(std::span<ServingSequence* const> sequences) {
  decoding_.assign(sequences.begin(), sequences.end());
  std::vector<KvHold*> holds;
  std::vector<TokenId> tokens;
  std::vector<Sampler*> samplers;
  bool on_device = engine_.ctx_.backend == Backend::kCuda;
  for (ServingSequence* sequence : sequences) {
    holds.push_back(&sequence->hold);
    tokens.push_back(sequence->tokens().back());
    samplers.push_back(&sequence->sampler());
    on_device &= sequence->can_choose_on_device();
  }
  // One that needs the host makes all wait for it.
  Decoder::ChooseFn choose;
  if (!on_device) {
    choose = [this](int64_t i, std::span<const float> logits) {
      return decoding_[static_cast<size_t>(i)]->choose(logits);
    };
  }
  decoder_ = std::make_unique<Decoder>(engine_, std::move(holds), std::move(tokens),
                                       std::move(samplers), std::move(choose));
}

std::span<const TokenId> ServingPasses::finish() {
  const Decoder::Step step = decoder_->finish();
  traffic_.add_all(step.traffic);
  return step.tokens;
}

std::array<LinkStatus, kMaxTiers> ServingPasses::links() const {
  std::array<LinkStatus, kMaxTiers> links{};
  if (engine_.cuda() == nullptr) return links;
  for (size_t tier = 1; tier < engine_.plan().tiers.size(); ++tier) {
    links[tier] = link_status(*engine_.cuda(), static_cast<TierIndex>(tier));
  }
  return links;
}

void ServingPasses::end_decode() {
  decoder_.reset();
  decoding_.clear();
}

}  // namespace dak
