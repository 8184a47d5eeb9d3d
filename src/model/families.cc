#include "model/families.h"

#include <array>

namespace dak {
namespace {

const std::array<const Family*, 5> kFamilies{&kLlama, &kMistral, &kQwen2, &kQwen3, &kOpt};

std::string listed(std::string_view Family::*name) {
  std::string list;
  for (const Family* family : kFamilies) {
    if ((family->*name).empty()) continue;
    list += list.empty() ? "" : ", ";
    list += family->*name;
  }
  return list;
}

}  // namespace

std::span<const Family* const> families() { return kFamilies; }

const Family& family_named(std::string_view name) {
  for (const Family* family : kFamilies) {
    if (family->name == name) return *family;
  }
  require(false, fmt::format("no family {}", name));
  return kLlama;
}

std::string known_hf_architectures() { return listed(&Family::hf_architecture); }
std::string known_gguf_architectures() { return listed(&Family::gguf_architecture); }

}  // namespace dak
