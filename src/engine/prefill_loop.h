// A prompt through the model, as a session runs it, of made-up tokens: what `dak bench prefill`
// measures.
#pragma once

#include <cstdint>

#include "engine/engine.h"

namespace dak {

class PrefillLoop {
 public:
  explicit PrefillLoop(Engine& engine) : engine_(engine) {}

  // A new sequence of `tokens` tokens, to the logits of its last one: `steps` passes in `seconds`
  // (the time to the first token, less its choice), with the bytes they read. Throws
  // kInvalidArgument when they exceed the engine's context.
  PhaseStats run(int64_t tokens);

 private:
  Engine& engine_;
};

}  // namespace dak
