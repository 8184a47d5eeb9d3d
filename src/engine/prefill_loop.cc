#include "engine/prefill_loop.h"

#include "base/error.h"
#include "engine/prefill_chunk.h"

namespace dak {

PhaseStats PrefillLoop::run(int64_t tokens) {
  if (tokens < 1 || tokens > engine_.context()) {
    throw_invalid("prefill loop", "tokens", std::to_string(tokens),
                  fmt::format("is outside 1 to {}, the context", engine_.context()),
                  "use a larger --context");
  }
  std::vector<TokenId> prompt(static_cast<size_t>(tokens));
  for (size_t i = 0; i < prompt.size(); ++i) {
    prompt[i] = static_cast<TokenId>(i * 7919 % static_cast<size_t>(engine_.config_.vocabulary));
  }
  PhaseStats stats;
  KvHold hold;
  try {
    while (hold.tokens < tokens) {
      const int64_t rows = next_prefill_rows(tokens - hold.tokens, engine_.prefill_chunk_);
      const std::span<const TokenId> chunk(prompt.data() + hold.tokens, static_cast<size_t>(rows));
      engine_.run(hold, chunk, hold.tokens + rows == tokens, stats);
    }
  } catch (...) {
    engine_.cache_->release(hold);
    throw;
  }
  engine_.cache_->release(hold);
  return stats;
}

}  // namespace dak
