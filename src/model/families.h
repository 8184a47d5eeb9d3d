// Every family dak runs. A new one is a file with a `const Family` and a line here and in
// families.cc.
#pragma once

#include "model/family.h"

namespace dak {

extern const Family kLlama;
extern const Family kMistral;
extern const Family kOpt;
extern const Family kQwen2;
extern const Family kQwen3;

}  // namespace dak
