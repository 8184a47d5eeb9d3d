#include "engine/engine.h"

#include <algorithm>
#include <chrono>

#include "base/seconds.h"
#include "engine/access.h"
#include "model/declared_model.h"
#include "model/loader.h"
#include "model/synthetic.h"
#include "ops/rows.h"
#include "text/turn_ends.h"

namespace dak {
namespace {

// Synthetic weights need no tokenizer.
std::optional<Tokenizer> load_tokenizer(const ModelFiles& files, const EngineOptions& options) {
  if (options.synthetic_seed && !files.has_tokenizer()) return std::nullopt;
  return files.load_tokenizer();
}

}  // namespace

Engine::Engine(const ModelFiles& files, const EngineOptions& options, std::vector<Tier> tiers,
               const ProgressFn& progress)
    : config_(files.config),
      tokenizer_(load_tokenizer(files, options)),
      chat_template_(files.load_chat_template()),
      tool_template_(files.load_tool_template()),
      pool_(std::make_unique<ThreadPool>(options.threads)),
      plan_(plan_model(files, options, std::move(tiers))),
      sequences_(options.sequences),
      context_(options.kv_tokens > 0 ? planned_context(config_, options)
                                     : plan_.fixed.kv_tokens / sequences_),
      prefill_chunk_(plan_.fixed.prefill_chunk) {
  DeclaredModel declared = declare_model(config_, files.naming);
  model_ = std::move(declared.model);
  program_ = std::move(declared.program);
  if (tokenizer_) spellings_.emplace(*tokenizer_);
  add_ends(files);
  publish_plan();
  check_memory(plan_, options.device);
  if (options.mode == AccessMode::kUva) check_uva();
  const auto start = std::chrono::steady_clock::now();
  weights_ = std::make_unique<Weights>(make_arenas(plan_, options.device, progress));
  if (options.synthetic_seed) {
    load_synthetic(program_, plan_, *options.synthetic_seed, *pool_, progress, *weights_);
  } else {
    load_weights(program_, *files.checkpoint, plan_, *pool_,
                 {.check_finite = options.check_finite, .progress = progress}, *weights_);
  }
  workspace_ = std::make_unique<Workspace>(program_, std::max(prefill_chunk_, sequences_),
                                           sequences_, weights_->arena(0), input_dtype(options));
  std::vector<Arena*> arenas;
  for (size_t tier = 0; tier < plan_.tiers.size(); ++tier) {
    arenas.push_back(&weights_->arena(static_cast<TierIndex>(tier)));
  }
  const DType kv_dtype = kv_cache_dtype(config_, options);
  cache_ =
      std::make_unique<KvCache>(config_, kv_dtype,
                                kv_room_over(config_, kv_dtype, kv_pages_for(plan_.fixed.kv_tokens),
                                             options.kv_ratio, plan_.tiers),
                                arenas);
  if (options.device.backend == Backend::kCuda) {
    cuda_ = make_cuda_backend(options.device.ordinal, options.device.kernels);
    set_tier_bandwidths(*cuda_, plan_.tiers);
    prepare_access(program_, plan_, *cache_, *weights_, *cuda_);
    mover_ = make_cuda_page_mover(*cuda_);
    cache_->use_mover(*mover_);
    for (size_t tier = 1; tier < plan_.tiers.size() && options.window_bytes; ++tier) {
      set_fixed_window(*cuda_, static_cast<TierIndex>(tier), *options.window_bytes);
    }
  }
  ctx_.backend = options.device.backend;
  ctx_.cuda = cuda_.get();
  ctx_.pool = pool_.get();
  if (cuda_ != nullptr) reserve_steps();
  load_seconds_ = seconds_since(start);
}

Engine::~Engine() = default;

// The files' own ends are not always what the template writes: conversions of base models and
// fine-tunes name <|endoftext|> and end turns with <|im_end|>.
void Engine::add_ends(const ModelFiles& files) {
  std::vector<TokenId>& ends = config_.eos_tokens;
  const auto add = [&ends](const std::vector<TokenId>& more) {
    ends.insert(ends.end(), more.begin(), more.end());
  };
  if (tokenizer_) {
    if (const auto eos = tokenizer_->eos_token()) ends.push_back(*eos);
    if (chat_template_) add(turn_ends_of(*chat_template_, *tokenizer_));
    if (tool_template_) add(turn_ends_of(*tool_template_, *tokenizer_));
    if (files.metadata) add(ends_by_name(*tokenizer_));
  }
  std::ranges::sort(ends);
}

DType Engine::input_dtype(const EngineOptions& options) const {
  std::vector<Operand> operands;
  for (const OperandPlan& entry : plan_.operands) operands.push_back(entry.operand);
  return matmul_input_dtype(options.device.backend, operands);
}

const Tokenizer& Engine::tokenizer() const {
  if (!tokenizer_) {
    throw Error(ErrorCode::kNotFound, {.where = config_.name,
                                       .field = "tokenizer",
                                       .value = {},
                                       .problem = "there is none beside the configuration",
                                       .fix = "synthetic weights are for `dak bench`"});
  }
  return *tokenizer_;
}

std::vector<TokenId> Engine::chat_prompt(const ChatInput& input) const {
  return chat_tokens(chat_text(input));
}

ChatText Engine::chat_text(const ChatInput& input) const {
  const ChatTemplate* by = input.tools.is_null() ? chat_template() : tool_template();
  if (by == nullptr) {
    throw_unsupported(config_.name, "chat_template", {}, "the model has none",
                      "give a plain prompt with --raw");
  }
  ChatInput filled = input;
  const auto spelling = [this](std::optional<TokenId> token) {
    return token ? tokenizer().token_text(*token).value_or("") : std::string();
  };
  if (filled.bos_token.empty()) filled.bos_token = spelling(tokenizer().bos_token());
  if (filled.eos_token.empty()) filled.eos_token = spelling(tokenizer().eos_token());
  if (!input.split_special_tokens) return {.text = by->render(filled), .letters = {}};
  return split_special_text(*by, filled, *spellings_);
}

// The template writes the special tokens itself.
std::vector<TokenId> Engine::chat_tokens(const ChatText& text) const {
  return tokenizer().encode(text.text, {.add_special_tokens = false, .letters = text.letters});
}

bool Engine::is_end_token(TokenId token) const {
  return std::ranges::binary_search(config_.eos_tokens, token);
}

std::span<const float> Engine::run(KvHold& hold, std::span<const TokenId> tokens, bool want_logits,
                                   PhaseStats& stats) {
  const auto start = std::chrono::steady_clock::now();
  const auto rows = static_cast<int64_t>(tokens.size());
  take_revokes();
  cache_->rebalance(kRebalancedPages);
  cache_->reserve(hold, hold.tokens + rows);
  Batch batch{.tokens = {tokens.begin(), tokens.end()},
              .positions = std::vector<int32_t>(tokens.size()),
              .sequences = {{.pages = &hold.pages, .past = hold.tokens, .rows = rows}},
              .logit_rows = {},
              .kv_dtype = cache_->dtype()};
  for (int64_t i = 0; i < rows; ++i) {
    batch.positions[static_cast<size_t>(i)] = static_cast<int32_t>(hold.tokens + i);
  }
  if (want_logits) batch.logit_rows.push_back(static_cast<int32_t>(rows - 1));
  ctx_.traffic = {};
  const Tensor logits = model_->forward(ctx_, *weights_, batch, *workspace_);
  const std::span<const float> values = host_values(ctx_, logits);
  hold.tokens += rows;
  stats.tokens += rows;
  stats.steps += 1;
  stats.seconds += seconds_since(start);
  stats.traffic.add_all(ctx_.traffic);
  return values;
}

}  // namespace dak
