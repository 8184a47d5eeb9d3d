// A model loaded under a plan, with the parts a test wants to reach.
#pragma once

#include <array>
#include <memory>

#include "base/thread_pool.h"
#include "engine/access.h"
#include "engine/engine.h"
#include "model/declared_model.h"
#include "model/loader.h"
#include "ops/rows.h"

namespace dak {

class LoadedModel {
 public:
  static constexpr int64_t kCacheTokens = 2048;  // over all of a test's sequences

  // `threads` and `options` as in Engine; batches of up to `max_rows` tokens, all with logits.
  LoadedModel(const std::string& path, const EngineOptions& options, int64_t max_rows,
              int threads = 2)
      : files_(open_model(path, true)), pool_(threads) {
    plan_ = plan_model(files_, options, cpu_tiers(1e9));
    Plan unbounded = plan_;  // the test's own workspace is beside the plan
    for (Tier& tier : unbounded.tiers) tier.capacity_bytes = 0;
    weights_ = std::make_unique<Weights>(make_arenas(unbounded, options.device));
    DeclaredModel declared = declare_model(files_.config, files_.naming);
    model_ = std::move(declared.model);
    load_weights(declared.program, *files_.checkpoint, plan_, pool_, {}, *weights_);
    std::vector<Operand> operands;
    for (const OperandPlan& entry : plan_.operands) operands.push_back(entry.operand);
    workspace_ =
        std::make_unique<Workspace>(declared.program, max_rows, max_rows, weights_->arena(0),
                                    matmul_input_dtype(options.device.backend, operands));
    const std::array arenas{&weights_->arena(0), &weights_->arena(1)};
    cache_ = std::make_unique<KvCache>(
        files_.config, kv_cache_dtype(files_.config, options),
        uniform_kv_room(files_.config.layers, kv_pages_for(kCacheTokens), options.kv_ratio),
        arenas);
    ctx_.pool = &pool_;
    if (options.device.backend == Backend::kCuda) {
      cuda_ = make_cuda_backend(options.device.ordinal, options.device.kernels);
      prepare_access(declared.program, plan_, *cache_, *weights_, *cuda_);
    }
    ctx_.backend = options.device.backend;
    ctx_.cuda = cuda_.get();
  }

  // Logits of every one of `tokens`, appended to the sequence: [tokens, vocabulary].
  std::vector<float> run(KvHold& hold, std::span<const int32_t> tokens) {
    const auto rows = static_cast<int64_t>(tokens.size());
    cache_->reserve(hold, hold.tokens + rows);
    Batch batch{.tokens = {tokens.begin(), tokens.end()},
                .sequences = {{.pages = &hold.pages, .past = hold.tokens, .rows = rows}},
                .kv_dtype = cache_->dtype()};
    for (int64_t i = 0; i < rows; ++i) {
      batch.positions.push_back(static_cast<int32_t>(hold.tokens + i));
      batch.logit_rows.push_back(static_cast<int32_t>(i));
    }
    const auto logits = host_values(ctx_, model_->forward(ctx_, *weights_, batch, *workspace_));
    hold.tokens += rows;
    return {logits.begin(), logits.end()};
  }

  // Several sequences in one batch; logits of each one's last token, [sequences, vocabulary].
  std::vector<float> run_batch(std::vector<KvHold*> holds,
                               const std::vector<std::vector<int32_t>>& tokens) {
    Batch batch{.kv_dtype = cache_->dtype()};
    for (size_t s = 0; s < holds.size(); ++s) {
      const auto rows = static_cast<int64_t>(tokens[s].size());
      cache_->reserve(*holds[s], holds[s]->tokens + rows);
      batch.sequences.push_back({.pages = &holds[s]->pages,
                                 .past = holds[s]->tokens,
                                 .first_row = batch.rows(),
                                 .rows = rows});
      for (int64_t i = 0; i < rows; ++i) {
        batch.tokens.push_back(tokens[s][static_cast<size_t>(i)]);
        batch.positions.push_back(static_cast<int32_t>(holds[s]->tokens + i));
      }
      batch.logit_rows.push_back(static_cast<int32_t>(batch.rows() - 1));
      holds[s]->tokens += rows;
    }
    const auto logits = host_values(ctx_, model_->forward(ctx_, *weights_, batch, *workspace_));
    return {logits.begin(), logits.end()};
  }

  const ModelConfig& config() const { return files_.config; }
  const Plan& plan() const { return plan_; }
  OpContext& ctx() { return ctx_; }
  KvCache& cache() { return *cache_; }

 private:
  ModelFiles files_;
  ThreadPool pool_;
  Plan plan_;
  std::unique_ptr<Weights> weights_;
  std::unique_ptr<Model> model_;
  std::unique_ptr<Workspace> workspace_;
  std::unique_ptr<KvCache> cache_;
  CudaBackendPtr cuda_;
  OpContext ctx_;
};

}  // namespace dak
