#include "server/api_keys.h"

#include <algorithm>

#include "base/error.h"
#include "base/file.h"

namespace dak {
namespace {

constexpr std::string_view kScheme = "bearer ";

// `key` is not empty.
bool same(std::string_view given, std::string_view key) {
  unsigned difference = given.size() == key.size() ? 0 : 1;
  for (size_t i = 0; i < given.size(); ++i) {
    difference |=
        static_cast<unsigned char>(given[i]) ^ static_cast<unsigned char>(key[i % key.size()]);
  }
  return difference == 0;
}

bool is_scheme(std::string_view text) {
  return std::ranges::equal(
      text, kScheme, [](char a, char b) { return (a >= 'A' && a <= 'Z' ? a + 32 : a) == b; });
}

}  // namespace

std::optional<std::string_view> given_key(std::string_view authorization,
                                          std::string_view api_key) {
  // Of another scheme it may be for a proxy in front.
  const bool bearer = is_scheme(authorization.substr(0, kScheme.size()));
  const std::string_view token = bearer ? authorization.substr(kScheme.size()) : std::string_view();
  if (token.empty()) return api_key;
  if (api_key.empty() || same(token, api_key)) return token;
  return std::nullopt;
}

void ApiKeys::add(const std::string& key, std::string_view flag) {
  const bool visible = std::ranges::all_of(key, [](char c) { return c > 0x20 && c < 0x7f; });
  if (key.empty() || !visible) {
    throw_invalid(flag, "key", {}, "is empty or has other than visible ASCII characters",
                  "e.g. the output of: openssl rand -hex 24");
  }
  keys_.push_back(key);
}

void ApiKeys::add_file(const std::filesystem::path& path) {
  const std::string text = read_text_file(path);
  size_t found = 0;
  for (size_t at = 0; at < text.size();) {
    const size_t end = std::min(text.find('\n', at), text.size());
    std::string line = text.substr(at, end - at);
    at = end + 1;
    while (!line.empty() && (line.back() == '\r' || line.back() == ' ')) line.pop_back();
    if (line.empty() || line.front() == '#') continue;
    add(line, path.string());
    ++found;
  }
  // A server without a key is open to all: not what a file of keys is for.
  if (found == 0) throw_invalid(path.string(), {}, {}, "holds no key", "write one a line");
}

std::optional<size_t> ApiKeys::find(std::string_view given) const {
  std::optional<size_t> found;
  for (size_t i = 0; i < keys_.size(); ++i) {
    if (same(given, keys_[i])) found = i;
  }
  return found;
}

}  // namespace dak
