#include "ops/cuda/cublas_lt.h"

#include <dlfcn.h>

#include <string>

#include "base/error.h"

namespace dak {
namespace {

[[noreturn]] void throw_missing(const std::string& problem) {
  throw_unsupported("--mode", {}, "uva", problem,
                    "install cuBLAS of CUDA 13 or 12 (its folder in LD_LIBRARY_PATH), or use "
                    "another mode");
}

void* open_library() {
  for (const char* file : {"libcublasLt.so.13", "libcublasLt.so.12"}) {
    if (void* library = dlopen(file, RTLD_NOW | RTLD_LOCAL); library != nullptr) return library;
  }
  throw_missing("neither libcublasLt.so.13 nor libcublasLt.so.12 was found");
}

template <typename Function>
void load(void* library, const char* symbol, Function*& function) {
  function = reinterpret_cast<Function*>(dlsym(library, symbol));
  if (function == nullptr) throw_missing(std::string("libcublasLt lacks ") + symbol);
}

// Stays loaded: its kernels' modules belong to the context.
CublasLt load_library() {
  void* library = open_library();
  CublasLt lt{};
  load(library, "cublasLtCreate", lt.create);
  load(library, "cublasLtDestroy", lt.destroy);
  load(library, "cublasLtMatmulDescCreate", lt.desc_create);
  load(library, "cublasLtMatmulDescDestroy", lt.desc_destroy);
  load(library, "cublasLtMatmulDescSetAttribute", lt.desc_set);
  load(library, "cublasLtMatrixLayoutCreate", lt.layout_create);
  load(library, "cublasLtMatrixLayoutDestroy", lt.layout_destroy);
  load(library, "cublasLtMatmulPreferenceCreate", lt.preference_create);
  load(library, "cublasLtMatmulPreferenceDestroy", lt.preference_destroy);
  load(library, "cublasLtMatmulPreferenceSetAttribute", lt.preference_set);
  load(library, "cublasLtMatmulAlgoGetHeuristic", lt.heuristic);
  load(library, "cublasLtMatmul", lt.matmul);
  return lt;
}

}  // namespace

const CublasLt& CublasLt::get() {
  static const CublasLt lt = load_library();
  return lt;
}

}  // namespace dak
