// The guard on the recursion of the interpreter.
#pragma once

#include "text/jinja/interpreter.h"

namespace dak::jinja {

// A level takes about 1 KiB of stack (3 KiB under AddressSanitizer): well inside 8 MiB.
constexpr int kMaxRecursion = 1500;

class Interpreter::Depth {
 public:
  explicit Depth(int& depth) : depth_(depth) {
    if (depth_ >= kMaxRecursion) {
      fail_exhausted("statements and expressions are nested too deeply");
    }
    ++depth_;
  }
  ~Depth() { --depth_; }
  Depth(const Depth&) = delete;
  Depth& operator=(const Depth&) = delete;

 private:
  int& depth_;
};

}  // namespace dak::jinja
