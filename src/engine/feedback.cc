#include "engine/feedback.h"

#include <algorithm>
#include <cmath>
#include <map>

#include "base/units.h"

namespace dak {
namespace {

constexpr double kMicro = 1e6;

bool differs(double measured, double predicted) {
  return std::abs(measured - predicted) > kMostDifference * predicted;
}

std::string percent(double measured, double predicted) {
  return predicted > 0 ? fmt::format("{:+.0f} %", 100 * (measured / predicted - 1))
                       : "not expected";
}

std::string time_text(double seconds) {
  return seconds < 1e-3 ? fmt::format("{:.0f} us", seconds * kMicro)
                        : fmt::format("{:.2f} ms", seconds * 1e3);
}

std::string link_text(const LinkFacts& link) {
  return fmt::format("{} {} x{}", link.kind, link.generation.value_or(0), link.width.value_or(0));
}

// What timing added to each of the operations: without it they take `step_s` together. None takes
// less than nothing, so that short ones give up less. 0: they did not take longer.
double gap_of(const OperationTimes& times, double step_s) {
  const auto without = [&](double gap_s) {
    double left_s = 0;
    for (const OperationTimer::Seconds& one : times.operations) {
      left_s += std::max(0.0, one.seconds - gap_s * static_cast<double>(one.count));
    }
    return left_s;
  };
  double low = 0;
  double high = std::max(0.0, times.total_s);
  if (!times.apart || times.total_s <= step_s) return 0;
  constexpr int kHalvings = 60;  // down to what a double tells apart
  for (int i = 0; i < kHalvings; ++i) {
    const double middle = (low + high) / 2;
    (without(middle) > step_s ? low : high) = middle;
  }
  return low;
}

class Comparison {
 public:
  explicit Comparison(const FeedbackInput& input) : input_(input) {}

  Feedback run() {
    const EntryForecast& predicted = input_.predicted;
    feedback_ = {.workload = predicted.entry.text(),
                 .predicted_s = predicted.seconds,
                 .measured_s = input_.measured_s};
    if (input_.operations != nullptr) add_operations();
    if (differs(input_.measured_s, predicted.seconds)) {
      feedback_.differences.push_back(
          fmt::format("a step took {}, predicted {} ({})", time_text(input_.measured_s),
                      time_text(predicted.seconds), percent(input_.measured_s, predicted.seconds)));
    }
    explain_plan();
    explain_tiers();
    for (const OperationFeedback& operation : feedback_.operations) explain(operation);
    return feedback_;
  }

 private:
  void add_operations() {
    std::map<std::string, double> measured;
    const OperationTimes& times = *input_.operations;
    feedback_.timed_gap_s = gap_of(times, input_.measured_s);
    const double gap_s = feedback_.timed_gap_s;
    // The rest of the difference is by chance: each has its part of it.
    const double scale = gap_s > 0 || times.total_s <= 0 ? 1 : input_.measured_s / times.total_s;
    for (const OperationTimer::Seconds& one : times.operations) {
      const double gaps_s = gap_s * static_cast<double>(one.count);
      measured[one.name] += scale * std::max(0.0, one.seconds - gaps_s);
    }
    for (const KindForecast& kind : input_.predicted.kinds) {
      feedback_.operations.push_back({.name = kind.name,
                                      .count = kind.count,
                                      .predicted_s = kind.seconds,
                                      .measured_s = measured[kind.name],
                                      .bound_by = kind.bound_by});
      measured.erase(kind.name);
    }
    // The cost model has no word for them.
    for (const auto& [name, seconds] : measured) {
      feedback_.operations.push_back(
          {.name = name, .count = 1, .predicted_s = 0, .measured_s = seconds, .bound_by = {}});
    }
  }

  // The plan was for other steps than those that ran.
  void explain_plan() {
    if (input_.planned == nullptr) return;
    const WorkloadEntry& planned = input_.planned->entry;
    const WorkloadEntry& was = input_.predicted.entry;
    if (!differs(input_.predicted.seconds, input_.planned->seconds)) return;
    feedback_.differences.push_back(fmt::format(
        "the plan was made for {}, predicted {}; these were {}{}: --workload tells the planner",
        planned.text(), time_text(input_.planned->seconds), was.text(),
        was.tokens_in_cache() > planned.tokens_in_cache() ? ", a longer KV cache" : ""));
  }

  // The machine is not what it was when it was probed.
  void explain_tiers() {
    if (input_.profile == nullptr) return;
    for (const Tier& now : input_.tiers) {
      for (const TierProfile& known : input_.profile->tiers) {
        if (known.name != now.name || !differs(now.read_bytes_per_s, known.read_bytes_per_s)) {
          continue;
        }
        feedback_.differences.push_back(
            fmt::format("{} read {} when the run began, {} in the profile: {}", now.channel,
                        format_rate(now.read_bytes_per_s), format_rate(known.read_bytes_per_s),
                        why_slower(now, known)));
      }
    }
  }

  std::string why_slower(const Tier& now, const TierProfile& known) const {
    if (now.read_bytes_per_s > known.read_bytes_per_s) {
      return "the profile was measured on a busy machine, or is another machine's; dak probe "
             "measures again";
    }
    if (now.kind == TierKind::kHost && input_.host_link_now && known.link &&
        (input_.host_link_now->generation != known.link->generation ||
         input_.host_link_now->width != known.link->width)) {
      return fmt::format("the link is {} now and was {}", link_text(*input_.host_link_now),
                         link_text(*known.link));
    }
    return "other traffic on it, or lower clocks";
  }

  const KindForecast* kind_of(const std::string& name) const {
    const auto found = std::ranges::find(input_.predicted.kinds, name, &KindForecast::name);
    return found == input_.predicted.kinds.end() ? nullptr : &*found;
  }

  void explain(const OperationFeedback& operation) {
    // As short as what timing adds to it: its own time cannot be told from that.
    if (operation.measured_s < feedback_.timed_gap_s * static_cast<double>(operation.count)) return;
    const double difference = operation.measured_s - operation.predicted_s;
    if (!differs(operation.measured_s, operation.predicted_s) ||
        std::abs(difference) < kLeastShareOfStep * input_.measured_s) {
      return;
    }
    feedback_.differences.push_back(
        fmt::format("{} x {}: {} a step, predicted {} ({}): {}", operation.count, operation.name,
                    time_text(operation.measured_s), time_text(operation.predicted_s),
                    percent(operation.measured_s, operation.predicted_s), cause(operation)));
  }

  std::string cause(const OperationFeedback& operation) const {
    const KindForecast* kind = kind_of(operation.name);
    if (kind == nullptr || operation.predicted_s <= 0) {
      return "the cost model leaves it out";
    }
    if (operation.measured_s < operation.predicted_s) {
      return fmt::format(
          "predicted as bound by {}, too slow: the profile or the cost model's "
          "constants are not this machine's (dak probe measures again)",
          operation.bound_by);
    }
    for (const Tier& tier : input_.tiers) {
      if (tier.channel == operation.bound_by) return slow_channel(operation, *kind, tier);
    }
    const double each_us = kMicro / static_cast<double>(std::max<int64_t>(1, operation.count));
    if (operation.bound_by == "compute") {
      return "less arithmetic than the profile's peak: lower clocks (power, heat) or other work";
    }
    return fmt::format(
        "bound by launches and small loops, {:.1f} us each where {:.1f} were "
        "expected: other work on this machine, or constants that are not its own "
        "(dak probe measures again)",
        operation.measured_s * each_us, operation.predicted_s * each_us);
  }

  // Bytes of all tiers on the channel, over the time.
  std::string slow_channel(const OperationFeedback& operation, const KindForecast& kind,
                           const Tier& slow) const {
    double bytes = 0;
    for (size_t t = 0; t < input_.tiers.size(); ++t) {
      if (input_.tiers[t].channel == slow.channel) bytes += kind.read_bytes[t];
    }
    return fmt::format(
        "{} gave {} of {}: {}", slow.channel, format_rate(bytes / operation.measured_s),
        format_rate(slow.read_bytes_per_s),
        slow.kind == TierKind::kLocal ? "other work on the memory, or lower clocks"
                                      : "other traffic on the link, or a link that trained down");
  }

  const FeedbackInput& input_;
  Feedback feedback_;
};

}  // namespace

Feedback compare(const FeedbackInput& input) { return Comparison(input).run(); }

}  // namespace dak
