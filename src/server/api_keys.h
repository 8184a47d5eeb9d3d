// Who may use the server.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace dak {

// The key that a request gives in its fields Authorization ("Bearer KEY") and X-Api-Key ("KEY");
// empty: none. Nothing where the two differ.
std::optional<std::string_view> given_key(std::string_view authorization, std::string_view api_key);

class ApiKeys {
 public:
  // Throws kInvalidArgument for a key that is empty or cannot stand in a header.
  void add(const std::string& key, std::string_view flag);
  // One key a line; empty lines and those that begin with '#' are left out.
  void add_file(const std::filesystem::path& path);

  bool empty() const { return keys_.empty(); }
  // Which key `given` is. The time does not depend on how much of a key is right.
  std::optional<size_t> find(std::string_view given) const;

 private:
  std::vector<std::string> keys_;
};

}  // namespace dak
