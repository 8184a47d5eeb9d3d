// Where a function was called, for error messages. std::source_location, which clang 14 (our lint)
// cannot read from libstdc++ 12.
#pragma once

namespace dak {

struct CallSite {
  const char* file;
  int line;

  // As a default argument: the place of the outermost call.
  static constexpr CallSite current(const char* file = __builtin_FILE(),
                                    int line = __builtin_LINE()) {
    return {file, line};
  }
};

}  // namespace dak
