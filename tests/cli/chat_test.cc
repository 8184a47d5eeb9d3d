// The interactive chat, on a terminal of its own.
#include <gtest/gtest.h>
#include <poll.h>
#include <pty.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <string>
#include <vector>

#include "process.h"

namespace dak {
namespace {

class Terminal {
 public:
  explicit Terminal(const std::vector<std::string>& arguments) {
    std::vector<const char*> argv{DAK_BINARY};
    for (const std::string& argument : arguments) argv.push_back(argument.c_str());
    argv.push_back(nullptr);
    child_ = forkpty(&fd_, nullptr, nullptr, nullptr);
    if (child_ == 0) {
      execv(DAK_BINARY, const_cast<char* const*>(argv.data()));
      _exit(127);
    }
  }
  ~Terminal() {
    if (child_ > 0) {
      kill(child_, SIGKILL);
      waitpid(child_, nullptr, 0);
    }
    close(fd_);
  }
  Terminal(const Terminal&) = delete;
  Terminal& operator=(const Terminal&) = delete;

  void type(const std::string& text) {
    ASSERT_EQ(::write(fd_, text.data(), text.size()), static_cast<ssize_t>(text.size()));
  }

  // Reads until `wanted` appears after what was read before; what was read, or "" after 30 s.
  std::string read_until(const std::string& wanted) {
    const auto limit = std::chrono::steady_clock::now() + std::chrono::seconds(20);
    while (std::chrono::steady_clock::now() < limit) {
      if (const size_t at = seen_.find(wanted); at != std::string::npos) {
        const std::string text = seen_.substr(0, at + wanted.size());
        seen_.erase(0, at + wanted.size());
        return text;
      }
      pollfd polled{fd_, POLLIN, 0};
      if (poll(&polled, 1, 100) <= 0) continue;
      char buffer[4096];
      const ssize_t got = read(fd_, buffer, sizeof(buffer));
      if (got > 0) seen_.append(buffer, static_cast<size_t>(got));
    }
    return "";
  }

  // True once there is output that nothing has read; false after 10 s.
  bool read_more() {
    pollfd polled{fd_, POLLIN, 0};
    return !seen_.empty() || poll(&polled, 1, 10000) > 0;
  }

  // Exit status, or -1 if it does not end by itself.
  int wait_for_end() {
    for (int i = 0; i < 300; ++i) {
      int status = 0;
      if (waitpid(child_, &status, WNOHANG) == child_) {
        child_ = -1;
        return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
      }
      usleep(100000);
    }
    return -1;
  }

 private:
  int fd_ = -1;
  pid_t child_ = -1;
  std::string seen_;
};

constexpr const char* kPrompt = "> ";

TEST(Chat, AnswersAndKeepsHistory) {
  Terminal terminal({"run", kGguf, "--device", "cpu", "-n", "8", "--context", "256"});
  ASSERT_NE(terminal.read_until(kPrompt), "");
  terminal.type("hello\n");
  ASSERT_NE(terminal.read_until(kPrompt), "");
  terminal.type("and again\n");
  ASSERT_NE(terminal.read_until(kPrompt), "");
  terminal.type("/stats\n");
  // The second question read only what was new.
  EXPECT_NE(terminal.read_until("reused)"), "");
  terminal.type("/reset\n");
  EXPECT_NE(terminal.read_until("history cleared"), "");
  terminal.type("/quit\n");
  EXPECT_EQ(terminal.wait_for_end(), 0);
}

TEST(Chat, CtrlCStopsTheAnswerAndNotTheProgram) {
  Terminal terminal({"run", kGguf, "--device", "cpu", "--ignore-eos", "--context", "256"});
  ASSERT_NE(terminal.read_until(kPrompt), "");
  terminal.type("\x03");
  ASSERT_NE(terminal.read_until("Ctrl-D or /quit leaves"), "");
  ASSERT_NE(terminal.read_until(kPrompt), "");
  terminal.type("hello\n");
  ASSERT_NE(terminal.read_until("hello\r\n"), "");
  // Once the answer has begun: before, the terminal would drop the line with the interrupt. Either
  // it stops the answer, or the tiny model was faster and its context is full: a note says which.
  ASSERT_TRUE(terminal.read_more());
  terminal.type("\x03");
  ASSERT_NE(terminal.read_until("]"), "");
  ASSERT_NE(terminal.read_until(kPrompt), "");
  terminal.type("\x04");
  EXPECT_EQ(terminal.wait_for_end(), 0);
}

TEST(Chat, AQuestionThatDoesNotFitIsRefusedAndForgotten) {
  Terminal terminal({"run", kGguf, "--device", "cpu", "-n", "4", "--context", "128"});
  ASSERT_NE(terminal.read_until(kPrompt), "");
  terminal.type(std::string(900, 'x') + "\n");
  ASSERT_NE(terminal.read_until("does not fit the context"), "");
  ASSERT_NE(terminal.read_until(kPrompt), "");
  terminal.type("hello\n");
  ASSERT_NE(terminal.read_until(kPrompt), "");
  terminal.type("/quit\n");
  EXPECT_EQ(terminal.wait_for_end(), 0);
}

}  // namespace
}  // namespace dak
