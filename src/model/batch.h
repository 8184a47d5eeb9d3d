// What one forward pass computes: tokens of one or more sequences, prefill and decode alike.
#pragma once

#include <cstdint>
#include <vector>

#include "ops/attention.h"

namespace dak {

// A sequence's pages, [layer][page].
using KvPageTable = std::vector<std::vector<KvPage>>;

struct BatchSequence {
  const KvPageTable* pages = nullptr;  // enough for past + rows tokens; null: of no sequence
  int64_t past = 0;                    // tokens already in the cache; kPaddingPast: of no sequence
  int64_t first_row = 0;               // its rows of the batch
  int64_t rows = 0;
};

struct Batch {
  std::vector<int32_t> tokens;     // [m]
  std::vector<int32_t> positions;  // [m]
  std::vector<BatchSequence> sequences;
  std::vector<int32_t> logit_rows;  // rows whose logits are wanted, ascending
  DType kv_dtype = DType::kF32;     // of the cache
  int64_t table_pages = 0;          // a recorded step's: room for each sequence's pages

  int64_t rows() const { return static_cast<int64_t>(tokens.size()); }
};

}  // namespace dak
