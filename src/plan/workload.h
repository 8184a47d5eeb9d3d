// What a plan is made for: shares of tokens that go through the model in prefill and in decode.
//
//   workload := entry ("+" entry)*
//   entry    := phase [":" setting ("," setting)*] ["*" share]
//   phase    := "decode" | "prefill"
//   setting  := "batch=" count | "context=" count     decode: sequences side by side (1), tokens
//                                                     of each with the one that is decoded (1024)
//             | ["tokens="] count | "chunk=" count    prefill: tokens of the prompt (must be
//                                                     given), most in one forward pass
//   count    := a whole number, with k (1024) or m (1024 * 1024) after it if you like: 4096, 8k
//   share    := a positive number: how many of the workload's tokens are of this entry, against the
//               other entries' shares (1)
//
// "decode:batch=32,context=8k*0.8 + prefill:2k*0.2": of ten tokens eight are decoded, 32 sequences
// side by side and each 8192 tokens long, and two belong to prompts of 2048 tokens.
// Spaces may stand around everything.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace dak {

enum class Phase : uint8_t { kDecode, kPrefill };
std::string_view name(Phase phase);

// One forward pass.
struct PassShape {
  int64_t rows = 1;        // tokens that go through the model
  int64_t sequences = 1;   // they are of; equally many of each
  int64_t past = 0;        // tokens that each sequence has in its cache already
  int64_t logit_rows = 1;  // rows that lm_head is run for
};

struct WorkloadEntry {
  Phase phase = Phase::kDecode;
  int64_t batch = 1;                  // decode
  int64_t context = 1024;             // decode
  int64_t tokens = 0;                 // prefill
  std::optional<int64_t> chunk = {};  // prefill; absent: the engine's
  double share = 1;                   // of the tokens; those of a parsed workload add up to 1

  int64_t tokens_in_cache() const { return phase == Phase::kDecode ? context : tokens; }
  std::string text() const;  // "decode:batch=32,context=8k", without the share
};

using Workload = std::vector<WorkloadEntry>;

// Throws kInvalidArgument naming `where`, the position of the first character that does not fit and
// what would.
Workload parse_workload(std::string_view text, std::string_view where);

std::string workload_text(const Workload& workload);  // with shares; parses to the same

int64_t most_tokens(const Workload& workload);     // of a sequence in the cache
int64_t most_sequences(const Workload& workload);  // side by side

struct CountedPass {
  PassShape pass;
  double count = 1;
};

// The passes that one decode step (one) or one prompt (one a chunk) takes. `default_chunk`: for
// prefill without one of its own. Of a prompt of more than 65 chunks neighbours are taken together,
// with the mean of their pasts: times are linear in it but for a few bends.
std::vector<CountedPass> passes_of(const WorkloadEntry& entry, int64_t default_chunk);

}  // namespace dak
