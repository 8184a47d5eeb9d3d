// Time as a number of seconds.
#pragma once

#include <chrono>

namespace dak {

inline double seconds_of(std::chrono::steady_clock::duration time) {
  return std::chrono::duration<double>(time).count();
}
inline double seconds_since(std::chrono::steady_clock::time_point start) {
  return seconds_of(std::chrono::steady_clock::now() - start);
}

}  // namespace dak
