// Runs the `dak` binary and keeps what it says.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

namespace dak {

struct ProcessResult {
  int status = -1;    // exit status, or 128 + signal
  bool hung = false;  // killed after the time limit
  std::string out;
  std::string err;
};

// Standard input is `input`. Killed after `limit_s`.
ProcessResult run_dak(const std::vector<std::string>& arguments, const std::string& input = "",
                      double limit_s = 60);

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
