// A model, planned and loaded, that turns prompts into text.
#pragma once

#include <atomic>
#include <functional>
#include <future>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "base/progress.h"
#include "base/thread_pool.h"
#include "engine/device.h"
#include "engine/kv_cache.h"
#include "engine/model_files.h"
#include "engine/sampler.h"
#include "engine/tier_choice.h"
#include "hardware/profile.h"
#include "model/declared_model.h"
#include "model/model.h"
#include "ops/access_mode.h"
#include "ops/decode_graph.h"
#include "pass/program.h"
#include "plan/plan.h"
#include "plan/workload.h"
#include "text/chat_text.h"

namespace dak {

// How row blocks get their tiers.
enum class PlacementPolicy : uint8_t {
  kUniform,  // the same offload ratio for every weight
  kGreedy,   // what costs least by the cost model leaves the local tier
};
std::string_view name(PlacementPolicy policy);
// Throws kInvalidArgument naming `flag`.
PlacementPolicy parse_placement_policy(std::string_view text, std::string_view flag);

struct EngineOptions {
  Device device;
  TierChoices tiers;                          // for machine_tiers; empty: the device's usual ones
  int threads = 0;                            // 0: all this process may use
  std::optional<int64_t> local_budget_bytes;  // of everything in tier 0
  std::optional<double> offload_ratio;        // instead of a budget
  std::optional<int64_t> host_budget_bytes;   // of each host tier; default: what is available
  double kv_ratio = 0;                        // share of each layer's KV pages in host memory
  int64_t context = 0;                        // tokens; 0: the model's, at most kDefaultContext
  int64_t sequences = 1;                      // decoded side by side
  int64_t kv_tokens = 0;  // room of the KV cache, over all sequences; 0: `context` for each
  AccessMode mode = AccessMode::kDirect;
  std::optional<int64_t> window_bytes;     // of remote reads, fixed; default: adaptive
  std::optional<uint64_t> synthetic_seed;  // weights from a generator, not from the files
  std::optional<DType> dtype;              // of weights; default: see held_dtype
  std::optional<DType> kv_dtype;           // default: the weights'
  int64_t prefill_chunk = 0;               // most tokens in one forward pass; 0: the plan's choice
  bool check_finite = false;               // refuse NaN weights

  // Default: greedy, but uniform where a ratio is given, which is every weight's, and in the modes
  // that are not kDirect.
  std::optional<PlacementPolicy> placement;
  Workload workload;                        // what greedy placement is for; empty: default_workload
  std::optional<HardwareProfile> hardware;  // of this machine; default: its tiers' bandwidths alone
  // What-if: greedy placement chooses where each layer's KV pages lie. Engines have one kv_ratio.
  bool kv_anywhere = false;
};

inline constexpr int64_t kDefaultContext = 8192;

// What the KV cache holds: as asked for, else as most of the weights are held.
DType kv_cache_dtype(const ModelConfig& config, const EngineOptions& options);

// Decode of all sequences, each with its context full.
Workload default_workload(int64_t sequences, int64_t context);

// Tokens that a sequence may have; no more than kv_tokens.
int64_t planned_context(const ModelConfig& config, const EngineOptions& options);

// Plans without loading anything; works from config.json alone.
Plan plan_model(const ModelFiles& files, const EngineOptions& options, std::vector<Tier> tiers);

class Decoder;
class Engine;
struct OperationTimes;

struct GenerateRequest {
  std::vector<TokenId> prompt;  // at least one token
  SamplingParams sampling;
  int64_t max_tokens = 0;         // 0: until the context is full
  std::vector<std::string> stop;  // strings that end the answer and are not part of it
  bool ignore_eos = false;
  const std::atomic<bool>* cancel = nullptr;                // polled between tokens and chunks
  std::function<void(TokenId, std::string_view)> on_token;  // text may be empty; may be unset
};

// Throws kInvalidArgument for an empty prompt, a token outside the vocabulary, a prompt that leaves
// no room in the context, or what sampling does not allow.
void check_request(const GenerateRequest& request, const Engine& engine);

enum class FinishReason : uint8_t {
  kEos,
  kStopString,
  kStopToken,  // one that the request named
  kMaxTokens,
  kContextFull,
  kCancelled
};
std::string_view name(FinishReason reason);

// One phase's work. `tokens` went through the model in `seconds` and read `traffic`.
struct PhaseStats {
  int64_t tokens = 0;
  int64_t steps = 0;
  double seconds = 0;
  TierTraffic traffic;
};

struct GenerateResult {
  std::vector<TokenId> tokens;  // EOS included
  std::string text;
  FinishReason reason = FinishReason::kEos;
  int64_t reused_tokens = 0;  // of the prompt, found in the session's cache
  PhaseStats prefill;
  PhaseStats decode;
};

// A conversation: keeps its cache, so that a prompt that repeats earlier tokens reads only the
// rest.
class Session {
 public:
  explicit Session(Engine& engine) : engine_(engine) {}
  ~Session();
  Session(const Session&) = delete;
  Session& operator=(const Session&) = delete;

  // Throws kInvalidArgument for an empty prompt, a token outside the vocabulary or a prompt that
  // leaves no room in the context.
  GenerateResult generate(const GenerateRequest& request);

  // The next decode step after generate, `steps` times over with its operations timed one by one;
  // the conversation stays as it is. nullopt: the cache holds nothing to decode from.
  std::optional<OperationTimes> time_operations(int64_t steps);
  int64_t cached_tokens() const { return hold_.tokens; }

 private:
  // Logits of the prompt's last token; empty when cancelled.
  std::span<const float> prefill(const GenerateRequest& request, GenerateResult& result);
  TokenId decode(Decoder& decoder, PhaseStats& stats);

  Engine& engine_;
  KvHold hold_;
  std::vector<TokenId> tokens_;  // what the cache holds
};

class Engine {
 public:
  // Plans and loads. The checkpoint in `files` is read and may be dropped afterwards.
  Engine(const ModelFiles& files, const EngineOptions& options, std::vector<Tier> tiers,
         const ProgressFn& progress = {});
  ~Engine();

  const ModelConfig& config() const { return config_; }
  const Program& program() const { return program_; }
  // What lies where. For the thread that runs the engine's steps: revoke_tier changes it.
  const Plan& plan() const { return plan_; }
  // The same, for any thread: as it is now, and so for good.
  std::shared_ptr<const Plan> plan_now() const;
  // Throws kNotFound for a model without one (synthetic weights from a config.json alone).
  const Tokenizer& tokenizer() const;
  bool has_tokenizer() const { return tokenizer_.has_value(); }
  const ChatTemplate* chat_template() const { return chat_template_ ? &*chat_template_ : nullptr; }
  // For conversations with tools.
  const ChatTemplate* tool_template() const {
    return tool_template_ ? &*tool_template_ : chat_template();
  }
  int64_t sequences() const { return sequences_; }
  int64_t context() const { return context_; }  // of each sequence
  ThreadPool& pool() { return *pool_; }
  double load_seconds() const { return load_seconds_; }
  const CudaBackend* cuda() const { return cuda_.get(); }  // null on the CPU

  // The prompt of a conversation, by the model's own template; throws kUnsupported without one.
  std::vector<TokenId> chat_prompt(const ChatInput& input) const;
  ChatText chat_text(const ChatInput& input) const;              // the prompt's text,
  std::vector<TokenId> chat_tokens(const ChatText& text) const;  // and that as tokens
  bool is_end_token(TokenId token) const;

  // Records the decode steps of all numbers of sequences (step_rows.h), which would otherwise be
  // done when each first comes up, in the middle of answers; on the thread that runs the
  // engine's steps. Begins no further one once `most_seconds` are over. On the CPU there are none.
  struct WarmUp {
    int64_t steps = 0;     // that there are
    int64_t recorded = 0;  // of them
    double seconds = 0;
  };
  static constexpr double kWarmUpSeconds = 30;
  WarmUp warm_up(double most_seconds = kWarmUpSeconds,
                 const std::function<void(int64_t done, int64_t of)>& progress = {});
  // How often a step was recorded so far.
  int64_t recordings() const { return recordings_; }

  // Gives the memory of a remote tier back to its owner: the row blocks and KV pages there move to
  // the fastest other remote tier that has room for all of them, and answers go on without a bit of
  // difference. On the thread that runs the engine's steps, with none in flight: on a GPU there is
  // one whenever a token is shown. Throws kNotFound for a name that is no remote tier's,
  // kResourceExhausted where no tier has room, kInvalidArgument with a step in flight and
  // kUnsupported in modes prefetch and uva; all is then as it was. `plan` and `plan_now` tell what
  // is where afterwards.
  void revoke_tier(std::string_view name);
  // The same from any thread, before the next step that is taken. The future gets what it throws.
  std::future<void> revoke_tier_soon(std::string name);
  // Any thread: a tier is to be given back. The thread that runs the steps then has to let those in
  // flight end before it takes the next.
  bool revoke_wanted() const { return revoke_wanted_; }
  // On the thread that runs the steps, when it takes no further one. Futures so far get `error`.
  void refuse_revokes(const Error& error);

 private:
  friend class Session;
  friend class Decoder;
  friend class DecodeLoop;
  friend class ServingPasses;
  friend OperationTimes time_operations(Engine&, std::span<KvHold* const>, std::span<const TokenId>,
                                        int64_t);

  // A decode step of so many rows, whichever sequences they are.
  struct StepGraph {
    std::unique_ptr<DecodeGraph> graph;
    TierTraffic weight_traffic;     // of a step
    const Decoder* user = nullptr;  // whose inputs the graph has
  };

  struct Revoke {
    std::string name;
    std::promise<void> done;
  };

  DType input_dtype(const EngineOptions& options) const;
  void reserve_steps();
  StepGraph& recorded_step(int64_t rows);
  TierIndex remote_tier_named(std::string_view name) const;
  TierIndex tier_to_take(TierIndex from, int64_t need) const;
  void take_revokes();
  std::vector<Revoke> pending_revokes();
  void publish_plan();
  void add_ends(const ModelFiles& files);

  // One forward pass over `tokens` of one sequence; logits of the last when `want_logits`.
  std::span<const float> run(KvHold& hold, std::span<const TokenId> tokens, bool want_logits,
                             PhaseStats& stats);

  ModelConfig config_;
  Program program_;
  std::optional<Tokenizer> tokenizer_;
  std::optional<ChatTemplate> chat_template_;
  std::optional<ChatTemplate> tool_template_;
  std::optional<SpecialSpellings> spellings_;  // with a tokenizer
  std::unique_ptr<ThreadPool> pool_;
  Plan plan_;
  int64_t sequences_;
  int64_t context_;
  int64_t prefill_chunk_;
  std::unique_ptr<Weights> weights_;
  std::unique_ptr<Model> model_;
  std::unique_ptr<Workspace> workspace_;
  std::unique_ptr<KvCache> cache_;
  CudaBackendPtr cuda_;               // after all that its kernels read, so that it ends first
  std::unique_ptr<PageMover> mover_;  // CUDA
  OpContext ctx_;
  std::map<int64_t, StepGraph> graphs_;   // by number of rows
  std::vector<const KvHold*> row_holds_;  // whose each row of the last decoder's steps was
  int64_t recordings_ = 0;
  double load_seconds_ = 0;
  int64_t steps_in_flight_ = 0;  // of all decoders
  mutable std::mutex plan_mutex_;
  std::shared_ptr<const Plan> plan_now_;  // a copy of plan_
  std::mutex revoke_mutex_;
  std::vector<Revoke> revokes_;
  std::atomic<bool> revoke_wanted_ = false;
};

}  // namespace dak
