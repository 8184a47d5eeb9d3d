#include "bench/onednn_sgemm.h"

#include <fmt/core.h>
#include <omp.h>
#include <oneapi/dnnl/dnnl.h>

#include "base/error.h"

namespace dak::bench {

bool onednn_available() { return true; }

std::string onednn_version() {
  const dnnl_version_t* version = dnnl_version();
  return fmt::format("oneDNN {}.{}.{}", version->major, version->minor, version->patch);
}

void onednn_sgemm(const float* x, const float* w, float* out, int64_t m, int64_t n, int64_t k,
                  int threads) {
  omp_set_num_threads(threads);
  const dnnl_status_t status = dnnl_sgemm('N', 'T', m, n, k, 1.0f, x, k, w, k, 0.0f, out, n);
  require(status == dnnl_success, "dnnl_sgemm failed");
}

}  // namespace dak::bench
