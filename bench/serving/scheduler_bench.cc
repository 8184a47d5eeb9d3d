// What the scheduler costs: decode steps of a batch through it, against the same steps by
// themselves (engine/decode_loop.h), on synthetic weights, in one run.
//
//   dak_bench_scheduler CONFIG_FOLDER DEVICE SEQUENCES PROMPT TOKENS [LOCAL_BUDGET_GIB [KV_RATIO]]
//
// Every sequence has PROMPT tokens and TOKENS more are generated; DEVICE is cpu or cuda:N.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <exception>
#include <random>

#include "engine/decode_loop.h"
#include "scheduler/scheduler.h"

namespace dak {
namespace {

using Clock = std::chrono::steady_clock;

struct Case {
  std::string config;
  DeviceSelection selection;
  int64_t sequences = 0;
  int64_t prompt = 0;
  int64_t tokens = 0;
  EngineOptions options;
};

double seconds_between(Clock::time_point begin, Clock::time_point end) {
  return std::chrono::duration<double>(end - begin).count();
}

double median(std::vector<double> values) {
  const auto middle = values.begin() + std::ssize(values) / 2;
  std::nth_element(values.begin(), middle, values.end());
  return *middle;
}

// Seconds of a step, halfway through the answers.
double step_alone(Engine& engine, const Case& c) {
  DecodeLoop loop(engine, c.sequences, c.prompt + c.tokens / 2, 1);
  loop.run(5);
  return median(loop.run(std::min<int64_t>(c.tokens / 2 - 8, 50)).step_seconds);
}

struct Served {
  double step_seconds = 0;  // while all sequences decode
  double total_seconds = 0;
  ServingStats stats;
};

Served serve(Engine& engine, const Case& c) {
  Scheduler scheduler(engine);
  std::mt19937 random(1);
  const auto vocabulary = static_cast<uint32_t>(engine.config().vocabulary);
  int64_t started = 0;  // have their first token
  Clock::time_point all_run;
  Clock::time_point first_end;
  int64_t between = 0;  // tokens while all ran
  const auto count = [&](const ServingEvent& event) {
    if (event.kind == ServingEvent::Kind::kFailed) throw Error(*event.error);
    if (event.kind == ServingEvent::Kind::kFinished && first_end == Clock::time_point()) {
      first_end = Clock::now();
    }
    if (event.kind != ServingEvent::Kind::kToken) return;
    started += event.generated_tokens == 1 ? 1 : 0;
    if (started < c.sequences || first_end != Clock::time_point()) return;
    if (all_run == Clock::time_point()) all_run = Clock::now();
    ++between;
  };
  for (int64_t i = 0; i < c.sequences; ++i) {
    ServingRequest request{.max_tokens = c.tokens, .ignore_eos = true, .on_event = count};
    for (int64_t t = 0; t < c.prompt; ++t) {
      request.prompt.push_back(static_cast<TokenId>(random() % vocabulary));
    }
    scheduler.submit(std::move(request));
  }
  scheduler.drain(Clock::now() + std::chrono::hours(1));
  const Clock::time_point begin = Clock::now();
  scheduler.run();
  if (between == 0) {
    throw_invalid("TOKENS", {}, std::to_string(c.tokens), "is over before all sequences run",
                  "give a larger one");
  }
  const double steps = static_cast<double>(between) / static_cast<double>(c.sequences);
  return {.step_seconds = seconds_between(all_run, first_end) / steps,
          .total_seconds = seconds_between(begin, Clock::now()),
          .stats = scheduler.stats()};
}

void run(Case c) {
  const bool gpu = c.selection.device.backend == Backend::kCuda;
  c.options.device = c.selection.device;
  c.options.sequences = c.sequences;
  c.options.context = c.prompt + c.tokens + 8;
  c.options.synthetic_seed = 1;
  c.options.dtype = DType::kBF16;
  Engine engine(open_model(c.config, false), c.options,
                gpu ? cuda_tiers(c.selection.device.ordinal) : cpu_tiers(1e10));
  const double alone = step_alone(engine, c);
  serve(engine, c);  // records the steps of every number of sequences
  const Served served = serve(engine, c);
  const ServingStats& stats = served.stats;
  std::printf(
      "%s, %lld sequences of %lld + %lld tokens: a step alone %.3f ms, served %.3f ms "
      "(%+.1f %%); between passes p50 %.0f us, p99 %.0f us; %lld passes, %lld of decode; in all "
      "%.2f s, of it in passes %.2f s; generated %lld\n",
      c.config.c_str(), static_cast<long long>(c.sequences), static_cast<long long>(c.prompt),
      static_cast<long long>(c.tokens), alone * 1e3, served.step_seconds * 1e3,
      100 * (served.step_seconds / alone - 1), stats.scheduler_p50_s * 1e6,
      stats.scheduler_p99_s * 1e6, static_cast<long long>(stats.passes),
      static_cast<long long>(stats.decode_passes), served.total_seconds, stats.engine_seconds,
      static_cast<long long>(stats.generated_tokens));
}

}  // namespace
}  // namespace dak

int main(int argc, char** argv) {
  if (argc < 6) {
    std::fprintf(stderr,
                 "usage: %s CONFIG_FOLDER DEVICE SEQUENCES PROMPT TOKENS "
                 "[LOCAL_BUDGET_GIB [KV_RATIO]]\n",
                 argv[0]);
    return 2;
  }
  try {
    dak::Case c{.config = argv[1],
                .selection = dak::select_device(argv[2]),
                .sequences = std::stoll(argv[3]),
                .prompt = std::stoll(argv[4]),
                .tokens = std::stoll(argv[5])};
    if (argc > 6) {
      c.options.local_budget_bytes = static_cast<int64_t>(std::stod(argv[6]) * (1 << 30));
    }
    if (argc > 7) c.options.kv_ratio = std::stod(argv[7]);
    dak::run(std::move(c));
    return 0;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 1;
  }
}
