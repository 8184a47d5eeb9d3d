// dak serve: an OpenAI-compatible server over one engine.
#include <fmt/core.h>
#include <sys/resource.h>

#include <CLI/CLI.hpp>
#include <atomic>
#include <csignal>
#include <cstdlib>

#include "base/error.h"
#include "base/thread_pool.h"
#include "base/units.h"
#include "cli/commands.h"
#include "cli/feedback_report.h"
#include "cli/flags.h"
#include "cli/model_argument.h"
#include "cli/options.h"
#include "cli/output.h"
#include "cli/terminal.h"
#include "engine/forecast.h"
#include "engine/model_files.h"
#include "scheduler/scheduler.h"
#include "server/app.h"
#include "server/http_target.h"

namespace dak {
namespace {

struct ServeFlags {
  std::string model;
  std::string host = "127.0.0.1";
  int port = 8000;
  std::vector<std::string> model_names;
  std::vector<std::string> keys;
  std::vector<std::string> key_files;
  std::vector<std::string> admin_key_files;
  std::vector<std::string> cors_origins;
  std::vector<std::string> allowed_hosts;
  int64_t max_running = 32;
  int64_t kv_tokens = 0;
  int64_t max_queued = 1024;
  std::string max_body = "8MiB";
  int64_t max_prompt = 0;
  int64_t max_choices = 1024;
  std::string reasoning_format = "separate";
  bool split_special_tokens = false;
  int64_t max_connections = 4096;
  int http_threads = 0;
  double header_timeout = 10;
  double body_timeout = 60;
  double idle_timeout = 75;
  double write_timeout = 30;
  double request_timeout = 0;
  double drain_timeout = 30;
  bool log_requests = false;
  double warm_up = Engine::kWarmUpSeconds;
  CLI::Option* warm_up_option = nullptr;
  PlacementFlags placement;
  SamplingFlags sampling;
};

constexpr auto kFlushTime = std::chrono::seconds(5);  // for answers that are complete
constexpr int64_t kFullSequences = 8;                 // the KV cache's default room
constexpr int64_t kOtherFiles = 128;                  // beside connections
constexpr int64_t kLeastOtherFiles = 24;              // of a small model on a CPU
constexpr int kMostHttpThreads = 64;

std::chrono::milliseconds milliseconds(double seconds, std::string_view flag, bool may_be_zero) {
  constexpr double kMost = 1e7;
  if (!(seconds >= 0 && seconds <= kMost) || (seconds == 0 && !may_be_zero)) {
    throw_invalid(flag, {}, fmt::format("{}", seconds), "is no number of seconds", "e.g. 30");
  }
  return std::chrono::milliseconds(static_cast<int64_t>(seconds * 1000));
}

int64_t at_least(int64_t value, int64_t least, std::string_view flag) {
  if (value < least) {
    throw_invalid(flag, {}, std::to_string(value), fmt::format("is less than {}", least));
  }
  return value;
}

// The engine's own threads need cores too.
int default_http_threads() { return std::clamp(usable_cpus() / 4, 1, 8); }

HttpLimits limits_of(const ServeFlags& flags) {
  HttpLimits limits;
  limits.body_bytes = at_least(parse_bytes(flags.max_body, "--max-body"), 1024, "--max-body");
  limits.all_bodies_bytes = std::max(limits.all_bodies_bytes, limits.body_bytes);
  limits.threads = flags.http_threads;
  if (limits.threads < 0 || limits.threads > kMostHttpThreads) {
    throw_invalid("--http-threads", {}, std::to_string(limits.threads),
                  fmt::format("is outside 0 to {}", kMostHttpThreads));
  }
  if (limits.threads == 0) limits.threads = default_http_threads();
  limits.connections = at_least(flags.max_connections, 1, "--max-connections");
  limits.header_time = milliseconds(flags.header_timeout, "--header-timeout", false);
  limits.body_time = milliseconds(flags.body_timeout, "--body-timeout", false);
  limits.idle_time = milliseconds(flags.idle_timeout, "--idle-timeout", false);
  limits.write_time = milliseconds(flags.write_timeout, "--write-timeout", false);
  return limits;
}

ApiKeys keys_of(const ServeFlags& flags) {
  ApiKeys keys;
  for (const std::string& key : flags.keys) keys.add(key, "--api-key");
  for (const std::string& file : flags.key_files) keys.add_file(file);
  return keys;
}

// One file descriptor a connection: `connections`, or as many as the system allows.
int64_t connections_allowed(int64_t connections) {
  rlimit limit{};
  getrlimit(RLIMIT_NOFILE, &limit);
  const auto wanted = static_cast<rlim_t>(connections + kOtherFiles);
  if (limit.rlim_cur >= wanted) return connections;
  limit.rlim_cur = std::min(wanted, limit.rlim_max);
  setrlimit(RLIMIT_NOFILE, &limit);
  if (limit.rlim_cur >= wanted) return connections;
  const auto files = static_cast<int64_t>(limit.rlim_cur);
  const int64_t others = std::min(kOtherFiles, files / 2);
  if (others < kLeastOtherFiles) {
    throw Error(ErrorCode::kResourceExhausted,
                {.where = "dak serve",
                 .field = {},
                 .value = {},
                 .problem = fmt::format("the system allows {} open files", files),
                 .fix = fmt::format("raise ulimit -n to {} at least, {} for --max-connections {}",
                                    2 * kLeastOtherFiles, wanted, connections)});
  }
  const int64_t allowed = std::min(connections, files - others);
  if (allowed < connections) {
    print_err("dak: the system allows {} open files: at most {} connections (ulimit -n)\n", files,
              allowed);
  }
  return allowed;
}

// As HttpServer reads --host.
bool is_loopback(const std::string& host) {
  return host == "localhost" || is_loopback_address(host);
}

// A page of another site could reach a server that asks for no key and is this machine's alone, by
// a name of its own. At other addresses anyone who reaches it may use it in any case.
std::optional<AllowedHosts> hosts_of(const ServeFlags& flags, bool open) {
  AllowedHosts hosts;
  for (const std::string& name : flags.allowed_hosts) hosts.add(name, "--allowed-host");
  const bool checked = !flags.allowed_hosts.empty() || (open && is_loopback(flags.host));
  return checked ? std::optional(hosts) : std::nullopt;
}

// The first signal lets answers end, the second does not. Of one of the server's threads, but for
// `serving`.
class Shutdown {
 public:
  Shutdown(App& app, std::chrono::milliseconds patience) : app_(app), patience_(patience) {}

  void serving(Scheduler* scheduler) { scheduler_ = scheduler; }

  void signal(int number) {
    Scheduler* scheduler = scheduler_;
    if (asked_ || scheduler == nullptr) std::_Exit(128 + number);
    asked_ = true;
    log_line(fmt::format("dak: shutting down: answers have {} s to end; again to end at once",
                         std::chrono::duration<double>(patience_).count()));
    app_.drain();
    scheduler->drain(std::chrono::steady_clock::now() + patience_);
  }

 private:
  App& app_;
  std::chrono::milliseconds patience_;
  std::atomic<Scheduler*> scheduler_ = nullptr;
  bool asked_ = false;
};

// Before the server says that it is ready: else the first answers of each batch size would wait.
void warm_up(Engine& engine, const ServeFlags& flags) {
  if (engine.cuda() == nullptr) return;
  if (flags.warm_up == 0) {
    print_err("dak: no warm-up: each batch size's first step is recorded while answers wait\n");
    return;
  }
  Engine::WarmUp done;
  {
    ProbeLine line("recording steps");
    done = engine.warm_up(flags.warm_up, [&line](int64_t recorded, int64_t of) {
      line.show(fmt::format("{} of {}", recorded, of),
                static_cast<double>(recorded) / static_cast<double>(of));
    });
  }
  print_err("dak: recorded {} of {} decode steps in {:.1f} s{}\n", done.recorded, done.steps,
            done.seconds,
            done.recorded < done.steps ? "; the rest when they first come up (--warm-up)" : "");
}

std::vector<std::string> names_of(const ServeFlags& flags) {
  std::vector<std::string> names;
  for (const std::string& name : flags.model_names) {
    if (name.empty()) throw_invalid("--model-name", {}, {}, "is empty");
    if (std::ranges::find(names, name) == names.end()) names.push_back(name);
  }
  if (names.empty()) names.push_back(default_model_name(flags.model));
  return names;
}

ServiceOptions service_options(const ServeFlags& flags, const EngineOptions& options,
                               const Engine& engine) {
  const SamplingDefaults& of_model = engine.config().sampling;
  ServiceOptions service{.names = names_of(flags),
                         .defaults = {.sampling = flags.sampling.params(of_model),
                                      .max_tokens = flags.sampling.max_tokens(of_model)},
                         .limits = {.choices = at_least(flags.max_choices, 1, "--max-choices"),
                                    .prompt_tokens = flags.max_prompt},
                         .timeout = milliseconds(flags.request_timeout, "--request-timeout", true)};
  if (flags.reasoning_format != "separate" && flags.reasoning_format != "none") {
    throw_invalid("the command line", "--reasoning-format", flags.reasoning_format,
                  "is neither separate nor none");
  }
  service.split_reasoning = flags.reasoning_format == "separate";
  service.split_special_tokens = flags.split_special_tokens;
  if (not_modelled(options).empty()) {
    service.predict = [&options, &engine](int64_t batch, int64_t context) {
      const Workload workload{{.phase = Phase::kDecode, .batch = batch, .context = context}};
      return forecast_of(engine.config(), options, *engine.plan_now(), workload)
          .entries.at(0)
          .seconds;
    };
  }
  return service;
}

// Of templates that cannot be used.
void say_faults(const Engine& engine) {
  const ChatTemplate* plain = engine.chat_template();
  const ChatTemplate* tools = engine.tool_template();
  if (plain != nullptr && plain->fault() != nullptr) {
    print_err("dak: /v1/chat/completions is refused, completions work: {}\n",
              plain->fault()->what());
  }
  if (tools != plain && tools->fault() != nullptr) {
    print_err("dak: /v1/chat/completions with tools is refused: {}\n", tools->fault()->what());
  }
}

int serve(ServeFlags& flags) {
  EngineOptions options = flags.placement.options();
  options.sequences = at_least(flags.max_running, 1, "--max-running");
  options.kv_tokens = flags.kv_tokens;
  const SchedulerOptions scheduling{.max_queued = at_least(flags.max_queued, 1, "--max-queued")};
  HttpLimits limits = limits_of(flags);
  const std::chrono::milliseconds patience =
      milliseconds(flags.drain_timeout, "--drain-timeout", true);
  milliseconds(flags.request_timeout, "--request-timeout", true);
  milliseconds(flags.warm_up, "--warm-up", true);
  flags.sampling.params({});
  if (flags.warm_up_option->count() > 0 && options.device.backend == Backend::kCpu) {
    throw_unsupported("--warm-up", {}, fmt::format("{}", flags.warm_up),
                      "the CPU backend has no recorded steps", "omit it");
  }
  if (flags.port < 0 || flags.port > 65535) {
    throw_invalid("--port", {}, std::to_string(flags.port), "is outside 0 to 65535");
  }
  AppOptions app_options{.keys = keys_of(flags)};
  for (const std::string& one : flags.cors_origins) {
    app_options.cors_origins.add(one, "--cors-origin");
  }
  for (const std::string& file : flags.admin_key_files) app_options.admin_keys.add_file(file);
  if (flags.log_requests) {
    app_options.log = [](const std::string& line) { log_line("dak: " + line); };
  }
  const bool open = app_options.keys.empty();
  app_options.hosts = hosts_of(flags, open);
  limits.connections = connections_allowed(limits.connections);
  App app(std::move(app_options));
  Shutdown shutdown(app, patience);
  HttpServer http(
      flags.host, static_cast<uint16_t>(flags.port), limits,
      [&app](HttpRequest request, const std::shared_ptr<Exchange>& exchange) {
        app.handle(std::move(request), exchange);
      },
      App::refusal, [&app](const HttpRequest& request) { app.screen(request); });
  if (open && !is_loopback(http.address())) {
    print_err(
        "dak: anyone who reaches {} may use the model, pages of other sites in their browsers "
        "too; --api-key asks for a key\n",
        http.address());
  }
  http.on_signal([&shutdown](int number) { shutdown.signal(number); });
  http.start();  // says that it is loading

  const ModelFiles files = open_model_argument(flags.model, !options.synthetic_seed.has_value());
  const std::vector<Tier> tiers = probe_tiers(options);
  add_known_hardware(options, tiers);
  if (options.kv_tokens == 0) {
    options.kv_tokens =
        std::min(kFullSequences, options.sequences) * planned_context(files.config, options);
  }
  ProgressBar bar;
  Engine engine(files, options, tiers, [&bar](const Progress& progress) { bar.update(progress); });
  bar.clear();
  say_faults(engine);
  warm_up(engine, flags);
  Scheduler scheduler(engine, scheduling);
  SchedulerGenerator generator(scheduler);
  const Service service(engine, generator, service_options(flags, options, engine));
  // Whatever ends this, the threads that use the scheduler end first.
  struct Ending {
    App& app;
    HttpServer& http;
    bool all_sent = false;
    void end() {
      all_sent = http.stop(kFlushTime);
      app.stop();
    }
    ~Ending() { end(); }
  } ending{app, http};
  app.serve(service, &http);
  shutdown.serving(&scheduler);
  const std::string host =
      http.address().find(':') == std::string::npos ? http.address() : "[" + http.address() + "]";
  print_out("dak: serving {} at http://{}:{} (a page; the API is under /v1)\n",
            fmt::join(service.names(), ", "), host, http.port());
  flush_output();

  scheduler.run();
  ending.end();
  const ServingStats stats = scheduler.stats();
  log_line(fmt::format("dak: {} answers finished, {} failed, {} cancelled{}",
                       stats.requests_finished, stats.requests_failed, stats.requests_cancelled,
                       lost_log_lines() > 0
                           ? fmt::format("; {} lines of this log were lost", lost_log_lines())
                           : ""));
  return ending.all_sent ? 0 : 1;
}

}  // namespace

Command add_serve(CLI::App& app) {
  auto flags = std::make_shared<ServeFlags>();
  CLI::App* command =
      add_command(app, "serve", "Serve a model over HTTP, with the API of OpenAI and a page");
  command->add_option("MODEL", flags->model, "Model folder or .gguf file")->required();
  command->option_defaults()->group("Server");
  command->add_option(
      "--host", flags->host,
      "Address to listen at (default: 127.0.0.1, this machine alone; 0.0.0.0: all)");
  command->add_option("--port", flags->port, "Port (default: 8000; 0: any free one)");
  command
      ->add_option("--model-name", flags->model_names,
                   "What clients call the model (repeatable: all are its names; default: the "
                   "file's name)")
      ->allow_extra_args(false);
  command
      ->add_option("--api-key", flags->keys,
                   "Key that clients must send (repeatable); others see it in the list of "
                   "processes: --api-key-file keeps it to itself")
      ->allow_extra_args(false);
  command->add_option("--api-key-file", flags->key_files, "File with a key a line (repeatable)")
      ->allow_extra_args(false);
  command
      ->add_option("--admin-key-file", flags->admin_key_files,
                   "File with a key a line, for those who may give tiers back (repeatable; "
                   "default: nobody may)")
      ->allow_extra_args(false);
  command
      ->add_option("--cors-origin", flags->cors_origins,
                   "Web page origin that may use the API from a browser, or * (repeatable; "
                   "default: none)")
      ->allow_extra_args(false);
  command
      ->add_option("--allowed-host", flags->allowed_hosts,
                   "Name by which clients may ask, beside localhost and loopback addresses; others "
                   "are answered 403 (repeatable; default: any name with keys or another --host)")
      ->allow_extra_args(false);
  command->add_option("--reasoning-format", flags->reasoning_format,
                      "What a model thinks before it answers: separate (default), as "
                      "reasoning_content; none, as text, with its tags");
  command->add_flag("--split-special-tokens", flags->split_special_tokens,
                    "Special tokens in what clients send, such as <|im_end|>, are their letters "
                    "and no tokens, unless the request says otherwise");
  command->add_flag("--log-requests", flags->log_requests, "A line on stderr for each answer");
  command->add_option("--http-threads", flags->http_threads,
                      "Threads that read requests and write answers (default: a quarter of the "
                      "cores, 1 to 8)");
  flags->warm_up_option = command->add_option(
      "--warm-up", flags->warm_up,
      "Most seconds to record decode steps on a GPU before it is ready (default: 30; 0: while "
      "answers wait)");
  command->option_defaults()->group("Limits");
  command->add_option("--max-running", flags->max_running,
                      "Most requests side by side (default: 32)");
  as_tokens(command->add_option(
      "--kv-tokens", flags->kv_tokens,
      "Tokens that the KV cache holds over all requests (default: 8 times --context)"));
  command->add_option("--max-queued", flags->max_queued,
                      "Most requests that wait; more are answered 429 (default: 1024)");
  as_tokens(command->add_option("--max-prompt-tokens", flags->max_prompt,
                                "Longest prompt (default: the context less one)"));
  command->add_option("--max-choices", flags->max_choices,
                      "Most answers to one request: n, times its prompts (default: 1024)");
  as_size(command->add_option("--max-body", flags->max_body, "Largest request (default: 8MiB)"));
  command->add_option("--max-connections", flags->max_connections,
                      "Most connections; more are answered 503 (default: 4096)");
  command->add_option("--request-timeout", flags->request_timeout,
                      "Seconds that a request may take in all (default: 0, no limit)");
  command->add_option("--header-timeout", flags->header_timeout,
                      "Seconds for a request's header to arrive (default: 10)");
  command->add_option("--body-timeout", flags->body_timeout,
                      "Seconds for its body to arrive (default: 60)");
  command->add_option("--idle-timeout", flags->idle_timeout,
                      "Seconds that a connection may wait between requests (default: 75)");
  command->add_option("--write-timeout", flags->write_timeout,
                      "Seconds without the client taking a byte (default: 30)");
  command->add_option("--drain-timeout", flags->drain_timeout,
                      "After SIGTERM or Ctrl-C: seconds for answers to end (default: 30)");
  command->option_defaults()->group("Options");
  flags->sampling.add_to(*command, {.temperature = 1});
  flags->placement.add_to(*command);
  return [flags] { return serve(*flags); };
}

}  // namespace dak
