// Whether sequences that share a KV cache can all come to their ends: the banker's algorithm
// (Dijkstra, EWD 623) for pages. Pages are given out only while they can, so that no sequence has
// to be thrown out, or computed again, for another one to go on: those that are refused wait.
#pragma once

#include <cstdint>
#include <span>

namespace dak {

struct KvClaim {
  int64_t need = 0;     // pages that it may still ask for
  int64_t returns = 0;  // pages that are free for others when it ends
};

// Orders `claims`. Some order exists in which each sequence gets all that it needs from `available`
// pages and those of the ones before it.
bool can_all_end(int64_t available, std::span<KvClaim> claims);

}  // namespace dak
