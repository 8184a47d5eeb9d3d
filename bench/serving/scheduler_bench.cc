// What the scheduler costs: decode steps of a batch through it, against the same steps by
// themselves (engine/decode_loop.h), on synthetic weights, in one run.
//
//   dak_bench_scheduler CONFIG_FOLDER DEVICE SEQUENCES PROMPT TOKENS [LOCAL_BUDGET_GIB [KV_RATIO]]
//
// Every sequence has PROMPT tokens and TOKENS more are generated; DEVICE is cpu or cuda:N. Before
// that, answers that end one after the other, so that the batch has every size once: the longest
// time between two tokens of an answer, the first time and again.
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

TokenId random_token(const Engine& engine, std::mt19937& random) {
  return static_cast<TokenId>(random() % static_cast<uint32_t>(engine.config().vocabulary));
}

// The i-th answer has i times its share of TOKENS.
void serve_ending(Engine& engine, const Case& c, const char* when) {
  Scheduler scheduler(engine);
  std::mt19937 random(1);
  int64_t started = 0;
  std::vector<double> gaps;  // between an answer's tokens, once all have started
  std::vector<Clock::time_point> last(static_cast<size_t>(c.sequences));
  Clock::time_point all_run;
  int64_t tokens = 0;
  for (int64_t i = 0; i < c.sequences; ++i) {
    ServingRequest request{.max_tokens = 8 + c.tokens * (i + 1) / c.sequences, .ignore_eos = true};
    for (int64_t t = 0; t < c.prompt; ++t) request.prompt.push_back(random_token(engine, random));
    request.on_event = [&, i](const ServingEvent& event) {
      if (event.kind == ServingEvent::Kind::kFailed) throw Error(*event.error);
      if (event.kind != ServingEvent::Kind::kToken) return;
      const Clock::time_point now = Clock::now();
      Clock::time_point& before = last[static_cast<size_t>(i)];
      if (started == c.sequences) {
        gaps.push_back(seconds_between(before, now));
        ++tokens;
      }
      started += event.generated_tokens == 1 ? 1 : 0;
      if (started == c.sequences && all_run == Clock::time_point()) all_run = now;
      before = now;
    };
    scheduler.submit(std::move(request));
  }
  scheduler.drain(Clock::now() + std::chrono::hours(1));
  scheduler.run();
  const double seconds = seconds_between(all_run, Clock::now());
  std::ranges::sort(gaps);
  std::printf(
      "  answers that end one after the other, %s: %.0f tokens/s; between an answer's tokens "
      "p50 %.2f ms, p99 %.2f ms, most %.2f ms\n",
      when, static_cast<double>(tokens) / seconds, gaps[gaps.size() / 2] * 1e3,
      gaps[gaps.size() * 99 / 100] * 1e3, gaps.back() * 1e3);
}

Served serve(Engine& engine, const Case& c) {
  Scheduler scheduler(engine);
  std::mt19937 random(1);
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
      request.prompt.push_back(random_token(engine, random));
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
  c.options.context = c.prompt + c.tokens + 16;
  c.options.synthetic_seed = 1;
  c.options.dtype = DType::kBF16;
  Engine engine(open_model(c.config, false), c.options,
                gpu ? cuda_tiers(c.selection.device.ordinal) : cpu_tiers(1e10));
  const Engine::WarmUp warm_up = engine.warm_up();
  std::printf("recorded %lld steps in %.2f s\n", static_cast<long long>(warm_up.recorded),
              warm_up.seconds);
  serve_ending(engine, c, "first");
  serve_ending(engine, c, "again");
  std::printf("  recorded since: %lld\n",
              static_cast<long long>(engine.recordings() - warm_up.recorded));
  const double alone = step_alone(engine, c);
  serve(engine, c);  // clocks, caches
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
