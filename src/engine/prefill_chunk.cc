#include "engine/prefill_chunk.h"

#include <algorithm>

#include "base/math.h"
#include "model/workspace.h"

namespace dak {
namespace {

constexpr int64_t kTokenTile = 256;  // of the GEMM
constexpr int64_t kShortTile = 64;   // where whole tiles would leave too little for the last pass

}  // namespace

int64_t choose_prefill_chunk(const Program& program, const PrefillChunkRequest& request) {
  if (request.asked > 0) return std::min(request.asked, request.context);
  int64_t chunk = kLeastPrefillChunk;
  const auto room = static_cast<int64_t>(kPrefillActivationShare *
                                         static_cast<double>(request.local_budget_bytes));
  while (request.reads_weights_once && chunk < std::min(kMostPrefillChunk, request.context) &&
         Workspace::size_bytes(program, 2 * chunk, 1, request.input_dtype) <= room) {
    chunk *= 2;
  }
  return std::min(chunk, request.context);
}

int64_t next_prefill_rows(int64_t left, int64_t chunk) {
  const int64_t passes = ceil_div(left, chunk);
  const int64_t tile = chunk >= 4 * kTokenTile ? kTokenTile : kShortTile;
  return std::min({left, chunk, round_up(ceil_div(left, passes), tile)});
}

}  // namespace dak
