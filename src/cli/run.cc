#include <fmt/core.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <csignal>
#include <nlohmann/json.hpp>
#include <random>

#include "base/error.h"
#include "cli/chat.h"
#include "cli/commands.h"
#include "cli/feedback_report.h"
#include "cli/flags.h"
#include "cli/model_argument.h"
#include "cli/options.h"
#include "cli/output.h"
#include "cli/report.h"
#include "cli/terminal.h"
#include "engine/operation_times.h"

namespace dak {
namespace {

struct RunFlags {
  std::string model;
  std::string prompt;
  std::string system;
  bool raw = false;
  bool split_special_tokens = false;
  bool json = false;
  bool ignore_eos = false;
  std::vector<std::string> stop;
  std::string workload;
  bool no_history = false;
  PlacementFlags placement;
  SamplingFlags sampling;
  CLI::Option* prompt_option = nullptr;
};

constexpr int64_t kLeastComparedSteps = 8;  // fewer are mostly start-up

std::vector<TokenId> prompt_tokens(const RunFlags& flags, const Engine& engine,
                                   const std::string& prompt) {
  if (flags.raw) {
    return engine.tokenizer().encode(prompt, {.parse_special_tokens = !flags.split_special_tokens});
  }
  ChatInput input;
  input.split_special_tokens = flags.split_special_tokens;
  if (!flags.system.empty()) {
    input.messages.push_back({{"role", "system"}, {"content", flags.system}});
  }
  input.messages.push_back({{"role", "user"}, {"content", prompt}});
  return engine.chat_prompt(input);
}

// The prompt and the steps after it, against what was predicted for as many tokens.
std::vector<Feedback> feedback_of(const EngineOptions& options, const Engine& engine,
                                  Session& session, const GenerateResult& result) {
  std::vector<Feedback> all;
  if (!not_modelled(options).empty() || result.reason == FinishReason::kCancelled) return all;
  const auto add = [&](const WorkloadEntry& entry, double seconds, const OperationTimes* times) {
    all.push_back(feedback_on(engine.config(), options, engine.plan(), entry, seconds, times));
  };
  if (result.reused_tokens == 0 && result.prefill.tokens > 0) {
    add({.phase = Phase::kPrefill, .tokens = result.prefill.tokens}, result.prefill.seconds,
        nullptr);
  }
  if (result.decode.steps < kLeastComparedSteps) return all;
  const double step_seconds = result.decode.seconds / static_cast<double>(result.decode.steps);
  const int64_t context = session.cached_tokens() - result.decode.steps / 2;
  const std::optional<OperationTimes> times = session.time_operations(timed_steps(step_seconds));
  add({.phase = Phase::kDecode, .context = context}, step_seconds, times ? &*times : nullptr);
  return all;
}

// One answer, streamed to stdout; figures on stderr, so that a pipe gets the text alone.
int answer_once(const RunFlags& flags, const EngineOptions& options, Engine& engine,
                GenerateRequest request, const std::string& prompt) {
  const InterruptGuard interrupt;
  request.prompt = prompt_tokens(flags, engine, prompt);
  request.cancel = &interrupt.flag();
  if (!flags.json) {
    request.on_token = [](TokenId, std::string_view piece) {
      print_out("{}", piece);
      flush_output();
    };
  }
  Session session(engine);
  const GenerateResult result = session.generate(request);
  const std::vector<Feedback> feedback = feedback_of(options, engine, session, result);
  if (flags.json) {
    nlohmann::json json = run_json(result, engine.plan());
    json["prompt_tokens"] = request.prompt.size();
    json["load_seconds"] = engine.load_seconds();
    for (const Feedback& one : feedback) json["feedback"].push_back(feedback_json(one));
    if (request.sampling.temperature > 0) json["seed"] = request.sampling.seed;
    print_out("{}\n", json.dump(2, ' ', false, nlohmann::json::error_handler_t::replace));
  } else {
    const Style style(STDERR_FILENO);
    print_out("\n");
    flush_output();
    print_err("{}\n{}", style.dim, run_table(result, engine.plan()));
    for (const Feedback& one : feedback) print_err("{}", feedback_text(one));
    print_err("{}", style.reset);
  }
  return result.reason == FinishReason::kCancelled ? 128 + SIGINT : 0;
}

// The newline that echo and editors end their text with is no part of the prompt.
std::string without_last_newline(std::string text) {
  for (const std::string_view newline : {"\r\n", "\n"}) {
    if (!text.ends_with(newline)) continue;
    text.resize(text.size() - newline.size());
    break;
  }
  return text;
}

int run(RunFlags& flags) {
  EngineOptions options = flags.placement.options();
  if (!flags.workload.empty()) options.workload = parse_workload(flags.workload, "--workload");
  flags.sampling.params({});  // what cannot be is refused before the model is opened
  const bool has_prompt = flags.prompt_option->count() > 0;
  const bool interactive = !has_prompt && is_terminal(STDIN_FILENO);
  if (interactive && (flags.json || flags.raw)) {
    throw_invalid(flags.json ? "--json" : "--raw", {}, {}, "needs a prompt",
                  "give one with -p or on standard input");
  }
  const ModelFiles files = open_model_argument(flags.model, !options.synthetic_seed.has_value());
  const std::vector<Tier> tiers = probe_tiers(options);
  add_known_hardware(options, tiers);
  ProgressBar bar;
  Engine engine(files, options, tiers, [&bar](const Progress& progress) { bar.update(progress); });
  bar.clear();
  engine.warm_up();

  GenerateRequest request;
  request.sampling = flags.sampling.params(files.config.sampling);
  if (!flags.sampling.seed_given() && request.sampling.temperature > 0) {
    request.sampling.seed = std::random_device{}();
    if (!flags.json) print_err("seed {}\n", request.sampling.seed);
  }
  request.max_tokens = flags.sampling.max_tokens(files.config.sampling);
  request.stop = flags.stop;
  request.ignore_eos = flags.ignore_eos;
  if (interactive) {
    return chat(engine, request,
                {.system = flags.system,
                 .split_special_tokens = flags.split_special_tokens,
                 .keep_history = !flags.no_history});
  }
  return answer_once(flags, options, engine, request,
                     has_prompt ? flags.prompt : without_last_newline(read_standard_input()));
}

}  // namespace

Command add_run(CLI::App& app) {
  auto flags = std::make_shared<RunFlags>();
  CLI::App* command = add_command(app, "run", "Answer a prompt, or chat when none is given");
  command->add_option("MODEL", flags->model, "Model folder or .gguf file")->required();
  flags->prompt_option = command->add_option(
      "-p,--prompt", flags->prompt,
      "The prompt; without it, standard input less the newline at its end, or a "
      "chat on a terminal");
  command->add_option("--system", flags->system, "System message");
  command->add_flag("--raw", flags->raw, "Continue the prompt as it is, without chat template");
  command->add_flag("--split-special-tokens", flags->split_special_tokens,
                    "Special tokens in the prompt and the system message, such as <|im_end|>, are "
                    "their letters and no tokens");
  command->add_option("--stop", flags->stop, "End the answer before this text (repeatable)")
      ->allow_extra_args(false);
  command->add_flag("--ignore-eos", flags->ignore_eos, "Go on past the end-of-text token");
  command->add_flag("--json", flags->json, "Print one JSON object instead of streaming");
  command->add_flag("--no-history", flags->no_history,
                    "Keep no lines of a chat in $XDG_STATE_HOME/dak/history (~/.local/state/dak)");
  command->add_option("--workload", flags->workload,
                      "What greedy placement is for, e.g. decode:context=2k*0.8 + prefill:1k*0.2 "
                      "(default: decode with the context full)");
  flags->sampling.add_to(*command, {.temperature = 0});
  flags->sampling.add_seed_to(*command);
  flags->placement.add_to(*command);
  return [flags] { return run(*flags); };
}

}  // namespace dak
