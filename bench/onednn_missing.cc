#include "base/error.h"
#include "bench/onednn_sgemm.h"

namespace dak::bench {

bool onednn_available() { return false; }

std::string onednn_version() { return "built without oneDNN"; }

void onednn_sgemm(const float*, const float*, float*, int64_t, int64_t, int64_t, int) {
  require(false, "built without oneDNN");
}

}  // namespace dak::bench
