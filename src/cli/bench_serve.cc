#include "cli/bench_serve.h"

#include <fmt/format.h>
#include <sys/resource.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <csignal>
#include <cstdio>

#include "base/error.h"
#include "base/file.h"
#include "base/numbers.h"
#include "base/thread_pool.h"
#include "cli/bench_facts.h"
#include "cli/bench_flags.h"
#include "cli/bench_stats.h"
#include "cli/flags.h"
#include "cli/output.h"
#include "cli/terminal.h"

namespace dak {
namespace {

struct BenchServeFlags {
  ServeLoad load;
  LoadTargets targets;
  int port = 8000;
  std::string prompt = "128";
  std::string output_tokens = "64";
  std::vector<int64_t> concurrency;
  std::vector<double> rates;
  std::string format = "md";
  std::string output;
};

// Plain words, so that every tokenizer has several tokens for them.
constexpr const char* kWords =
    "The river runs past an old mill where two brothers ground corn for the whole valley. Each "
    "autumn "
    "carts came down from seven villages, and while the stones turned, people talked about "
    "weather, "
    "prices, weddings and the road to the sea. Nobody hurried: flour takes its time.";

CountRange range_of(const std::string& text, std::string_view flag) {
  // A dash at the beginning is a sign, which parse_tokens refuses.
  const size_t dash = text.find('-', 1);
  CountRange range;
  range.low = parse_tokens(text.substr(0, dash), flag);
  range.high = dash == std::string::npos ? range.low : parse_tokens(text.substr(dash + 1), flag);
  if (range.low < 1 || range.high < range.low) {
    throw_invalid(flag, {}, text, "is no count and no range of counts",
                  "e.g. 128, 64-512 or 1k-8k");
  }
  return range;
}

// This process's command, fit to be published.
std::string command_without(const std::string& key) {
  std::string command = command_line();
  for (size_t at = 0; !key.empty() && (at = command.find(key, at)) != std::string::npos;) {
    command.replace(at, key.size(), "KEY");
    at += 3;
  }
  return command;
}

// What the server says that it is: the model's name, and of a dak its context and tiers.
OrderedRow server_facts(const ServeLoad& load) {
  const auto parsed = [&load](std::string_view path) {
    return OrderedRow::parse(ask_text(load, path), nullptr, false);
  };
  OrderedRow facts{{"model", nullptr}};
  try {
    const OrderedRow models = parsed("/v1/models");
    facts["model"] = models.at("data").at(0).at("id");
    const OrderedRow state = parsed("/state");
    facts["context"] = state.at("context");
    facts["kv_pages"] = state.at("kv_pages").at("total");
    facts["tiers"] = OrderedRow::array();
    for (const OrderedRow& tier : state.at("tiers")) {
      OrderedRow& fact = facts["tiers"].emplace_back();
      for (const auto* key : {"name", "kind", "channel", "weight_bytes", "kv_bytes"}) {
        fact[key] = tier.at(key);
      }
    }
  } catch (const OrderedRow::exception&) {
    return facts;  // another server, which says less
  } catch (const Error&) {
    return facts;  // likewise
  }
  return facts;
}

OrderedRow quantiles(std::vector<double> values) {
  std::ranges::sort(values);
  OrderedRow row;
  for (const auto& [name, share] : {std::pair{"p50", 0.5}, {"p90", 0.9}, {"p99", 0.99}}) {
    row[name] =
        values.empty() ? OrderedRow(nullptr) : OrderedRow(1000 * quantile_of(values, share));
  }
  return row;
}

void print_table(const OrderedRow& rows, bool markdown) {
  const char* separator = markdown ? " | " : ",";
  const auto print = [&](const std::vector<std::string>& cells) {
    print_out("{}{}{}\n", markdown ? "| " : "", fmt::join(cells, separator), markdown ? " |" : "");
  };
  print({"rate/s", "at a time", "answers", "errors", "output tokens/s", "TTFT p50 ms", "p99",
         "TPOT p50 ms", "p99", "ITL p99 ms", "goodput/s"});
  if (markdown) print(std::vector<std::string>(11, "---"));
  const auto cell = [](const OrderedRow& value, int digits) {
    return value.is_null() ? std::string("") : fmt::format("{:.{}f}", value.get<double>(), digits);
  };
  for (const OrderedRow& row : rows) {
    print({cell(row["rate_per_s"], 2), row["concurrency"].dump(), row["answers"].dump(),
           row["errors"].dump(), cell(row["output_tokens_per_s"], 1),
           cell(row["ttft_ms"]["p50"], 1), cell(row["ttft_ms"]["p99"], 1),
           cell(row["tpot_ms"]["p50"], 2), cell(row["tpot_ms"]["p99"], 2),
           cell(row["itl_ms"]["p99"], 2), cell(row["goodput_per_s"], 2)});
  }
}

// Of all of this program's threads.
double cpu_seconds() {
  rusage used{};
  getrusage(RUSAGE_SELF, &used);
  const auto seconds = [](const timeval& time) {
    return static_cast<double>(time.tv_sec) + 1e-6 * static_cast<double>(time.tv_usec);
  };
  return seconds(used.ru_utime) + seconds(used.ru_stime);
}

int run(const BenchServeFlags& flags) {
  ServeLoad load = flags.load;
  if (flags.port < 1 || flags.port > 65535) {
    throw_invalid("--port", {}, std::to_string(flags.port), "is outside 1 to 65535");
  }
  load.port = static_cast<uint16_t>(flags.port);
  load.prompt_tokens = range_of(flags.prompt, "--prompt-tokens");
  load.output_tokens = range_of(flags.output_tokens, "--output-tokens");
  const BenchFormat format = parse_bench_format(flags.format);
  if (!flags.output.empty()) check_writable(flags.output, kOutputFix);
  load.vocabulary = ask_tokens(load, kWords);
  const InterruptGuard interrupt;
  const std::vector<double> rates = flags.rates.empty() ? std::vector<double>{0} : flags.rates;
  std::vector<int64_t> concurrencies = flags.concurrency;
  if (concurrencies.empty()) concurrencies.push_back(flags.rates.empty() ? 8 : 0);
  OrderedRow document{{"format", "dak bench serve 1"},
                      {"command", command_without(load.key)},
                      {"machine", host_facts()},
                      {"server", server_facts(load)},
                      {"settings",
                       {{"host", load.host},
                        {"port", load.port},
                        {"requests", load.requests},
                        {"prompt_tokens", flags.prompt},
                        {"output_tokens", flags.output_tokens},
                        {"shared_prefix", load.shared_prefix},
                        {"threads", load.threads},
                        {"seed", load.seed},
                        {"slo_ttft_ms", 1000 * flags.targets.first_token_s},
                        {"slo_tpot_ms", 1000 * flags.targets.per_token_s}}},
                      {"rows", OrderedRow::array()}};
  ProbeLine line;
  for (const double rate : rates) {
    for (const int64_t concurrency : concurrencies) {
      load.rate_per_s = rate;
      load.concurrency = concurrency;
      const LoadHooks hooks{.on_done =
                                [&](int64_t done) {
                                  line.show("requests", static_cast<double>(done) /
                                                            static_cast<double>(load.requests));
                                },
                            .cancel = &interrupt.flag()};
      const double cpu_before = cpu_seconds();
      const std::vector<LoadResult> results = generate_load(load, hooks);
      const double cpu = cpu_seconds() - cpu_before;
      if (interrupt.flag()) return 128 + SIGINT;
      OrderedRow row{
          {"rate_per_s", rate > 0 ? OrderedRow(rate) : OrderedRow(nullptr)},
          {"concurrency", concurrency > 0 ? OrderedRow(concurrency) : OrderedRow("any")}};
      row.update(load_row(results, flags.targets));
      // Of this program: near `threads` it is what limits the answers.
      const double span = row["seconds"].get<double>();
      row["load_cores_busy"] = span > 0 ? cpu / span : 0;
      document["rows"].push_back(std::move(row));
    }
  }
  const std::string text =
      document.dump(1, ' ', false, OrderedRow::error_handler_t::replace) + "\n";
  if (format == BenchFormat::kJson) {
    print_out("{}", text);
  } else {
    print_table(document["rows"], format == BenchFormat::kMarkdown);
  }
  if (!flags.output.empty()) write_text_file(flags.output, text, kOutputFix);
  const auto failed = [](const OrderedRow& row) { return row["answers"] == 0; };
  return std::ranges::any_of(document["rows"], failed) ? 1 : 0;
}

}  // namespace

OrderedRow load_row(const std::vector<LoadResult>& results, const LoadTargets& targets) {
  std::vector<double> first, between, per_token, whole;
  int64_t good = 0, prompt = 0, output = 0;
  double end_s = 0;
  std::string error;
  for (const LoadResult& result : results) {
    if (!result.error.empty()) {
      if (error.empty()) error = result.error;
      continue;
    }
    first.push_back(result.first_s);
    whole.push_back(result.whole_s);
    between.insert(between.end(), result.between_s.begin(), result.between_s.end());
    const auto steps = static_cast<double>(result.output_tokens - 1);
    const double step_s = steps > 0 ? (result.whole_s - result.first_s) / steps : 0;
    if (steps > 0) per_token.push_back(step_s);
    prompt += result.prompt_tokens;
    output += result.output_tokens;
    end_s = std::max(end_s, result.due_s + result.whole_s);
    const bool quick = targets.first_token_s <= 0 || result.first_s <= targets.first_token_s;
    const bool steady = targets.per_token_s <= 0 || step_s <= targets.per_token_s;
    good += quick && steady ? 1 : 0;
  }
  const auto per_s = [end_s](int64_t count) {
    return end_s > 0 ? static_cast<double>(count) / end_s : 0;
  };
  const auto answers = std::ssize(first);
  OrderedRow row{{"answers", answers},
                 {"errors", std::ssize(results) - answers},
                 {"first_error", error.empty() ? OrderedRow(nullptr) : OrderedRow(error)},
                 {"seconds", end_s},
                 {"answers_per_s", per_s(answers)},
                 {"prompt_tokens_per_s", per_s(prompt)},
                 {"output_tokens_per_s", per_s(output)},
                 {"goodput_per_s", per_s(good)}};
  row["ttft_ms"] = quantiles(std::move(first));
  row["tpot_ms"] = quantiles(std::move(per_token));
  row["itl_ms"] = quantiles(std::move(between));
  row["whole_ms"] = quantiles(std::move(whole));
  return row;
}

Command add_bench_serve(CLI::App& bench) {
  auto flags = std::make_shared<BenchServeFlags>();
  flags->load.threads = std::clamp(usable_cpus() / 4, 1, 4);
  CLI::App* command = add_command(
      bench, "serve",
      "Load a server that runs already with streams of completions; prompts are random words");
  command->add_option("--host", flags->load.host, "Where it runs (default: 127.0.0.1)");
  command->add_option("--port", flags->port, "Its port (default: 8000)");
  command->add_option("--api-key", flags->load.key, "Key to send");
  command->add_option("--model-name", flags->load.model, "Model to name (default: none)");
  command->add_option("--requests", flags->load.requests, "Requests of each row (default: 100)");
  command
      ->add_option("--concurrency", flags->concurrency,
                   "Most at a time, a list (default: 8; no limit with --rate)")
      ->delimiter(',');
  command->add_option("--rate", flags->rates, "Arrivals a second, exponentially apart, a list")
      ->delimiter(',');
  command
      ->add_option("--prompt-tokens", flags->prompt,
                   "Tokens of a prompt: N or LOW-HIGH (default: 128)")
      ->type_name(kTokensRange);
  command
      ->add_option("--output-tokens", flags->output_tokens,
                   "Tokens of an answer: N or LOW-HIGH (default: 64)")
      ->type_name(kTokensRange);
  command->add_option("--threads", flags->load.threads,
                      "Threads that read the answers (default: a quarter of the cores, 1 to 4)");
  as_tokens(command->add_option("--shared-prefix", flags->load.shared_prefix,
                                "Tokens that all prompts begin with (default: 0)"));
  command->add_option("--seed", flags->load.seed, "Of lengths, prompts and arrivals (default: 1)");
  command->add_option("--slo-ttft", flags->targets.first_token_s,
                      "Goodput counts answers whose first token came within so many seconds");
  command->add_option("--slo-tpot", flags->targets.per_token_s,
                      "and whose other tokens took so many seconds each, on average");
  command->add_option("--format", flags->format, "md (default), csv or json");
  command->add_option("--output", flags->output, "JSON file to write as well");
  return [flags] { return run(*flags); };
}

}  // namespace dak
