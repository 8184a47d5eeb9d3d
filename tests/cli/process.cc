#include "process.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <chrono>
#include <csignal>
#include <cstdlib>
#include <fstream>
#include <stdexcept>

namespace dak {
namespace {

struct Pipe {
  Pipe() {
    if (pipe2(ends.data(), O_CLOEXEC) != 0) throw std::runtime_error("pipe");
  }
  std::array<int, 2> ends{};
};

// Appends what can be read now; false at the end of the stream.
bool drain(int fd, std::string& text) {
  std::array<char, 4096> buffer{};
  const ssize_t got = read(fd, buffer.data(), buffer.size());
  if (got > 0) text.append(buffer.data(), static_cast<size_t>(got));
  return got > 0;
}

}  // namespace

ProcessResult run_dak(const std::vector<std::string>& arguments, const std::string& input,
                      double limit_s) {
  std::vector<const char*> argv{DAK_BINARY};
  for (const std::string& argument : arguments) argv.push_back(argument.c_str());
  argv.push_back(nullptr);
  const TemporaryFolder folder;
  const std::filesystem::path input_file = folder.path() / "input";
  std::ofstream(input_file) << input;
  const Pipe out;
  const Pipe err;

  const pid_t child = fork();
  if (child < 0) throw std::runtime_error("fork");
  if (child == 0) {
    const int in = open(input_file.c_str(), O_RDONLY);
    dup2(in, 0);
    dup2(out.ends[1], 1);
    dup2(err.ends[1], 2);
    execv(DAK_BINARY, const_cast<char* const*>(argv.data()));
    _exit(127);
  }
  close(out.ends[1]);
  close(err.ends[1]);
  ProcessResult result;
  const auto start = std::chrono::steady_clock::now();
  std::array<pollfd, 2> polled{{{out.ends[0], POLLIN, 0}, {err.ends[0], POLLIN, 0}}};
  while (polled[0].fd >= 0 || polled[1].fd >= 0) {
    const std::chrono::duration<double> elapsed = std::chrono::steady_clock::now() - start;
    if (elapsed.count() > limit_s) {
      kill(child, SIGKILL);
      result.hung = true;
      break;
    }
    if (poll(polled.data(), polled.size(), 100) <= 0) continue;
    for (size_t i = 0; i < polled.size(); ++i) {
      if (polled[i].fd < 0 || polled[i].revents == 0) continue;
      if (!drain(polled[i].fd, i == 0 ? result.out : result.err)) polled[i].fd = -1;
    }
  }
  close(out.ends[0]);
  close(err.ends[0]);
  int status = 0;
  waitpid(child, &status, 0);
  result.status = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  return result;
}

nlohmann::json json_of(const std::vector<std::string>& arguments) {
  const ProcessResult result = run_dak(arguments);
  EXPECT_EQ(result.status, 0) << result.err;
  return nlohmann::json::parse(result.out);
}

TemporaryFolder::TemporaryFolder() {
  std::string pattern = (std::filesystem::temp_directory_path() / "dak-test-XXXXXX").string();
  if (mkdtemp(pattern.data()) == nullptr) throw std::runtime_error("mkdtemp");
  path_ = pattern;
}

TemporaryFolder::~TemporaryFolder() {
  std::error_code ignored;
  std::filesystem::remove_all(path_, ignored);
}

}  // namespace dak
