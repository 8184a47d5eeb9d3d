// Runs the `dak` binary and keeps what it says.
#pragma once

#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

namespace dak {

// Tiny models.
inline const std::string kModels = std::string(DAK_TEST_DATA) + "/model/";
inline const std::string kGguf = kModels + "gguf/llama_mixed.gguf";
inline const std::string kFolder = kModels + "hf/smollm2";

struct ProcessResult {
  int status = -1;    // exit status, or 128 + signal
  bool hung = false;  // killed after the time limit
  std::string out;
  std::string err;
};

// Standard input is `input`. Killed after `limit_s`.
ProcessResult run_dak(const std::vector<std::string>& arguments, const std::string& input = "",
                      double limit_s = 60);

// What it says on standard output, which must be JSON and its status 0.
nlohmann::json json_of(const std::vector<std::string>& arguments);

// A fresh folder, removed with everything in it at the end of the test.
class TemporaryFolder {
 public:
  TemporaryFolder();
  ~TemporaryFolder();
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;
  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
};

}  // namespace dak
