// The rotary embedding as GGUF metadata describes it.
#pragma once

#include "format/checkpoint.h"
#include "model/gguf_fields.h"
#include "ops/rope.h"

namespace dak {

// As llama.cpp reads rope.*: a factor without a type is linear, and 0 is 1. `checkpoint` may hold
// rope_freqs.weight, Llama 3.1's scaling as divisors.
RopeConfig parse_gguf_rope(const GgufFields& fields, const Checkpoint& checkpoint,
                           int64_t head_size, int64_t context_length);

}  // namespace dak
