// The interactive chat, on a terminal of its own.
#include <gtest/gtest.h>
#include <poll.h>
#include <pty.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <csignal>
#include <filesystem>
#include <string>
#include <vector>

#include "base/file.h"
#include "process.h"

namespace dak {
namespace {

class Terminal {
 public:
  // `environment`: pairs; histories lie in `state`.
  explicit Terminal(const std::vector<std::string>& arguments,
                    const std::vector<std::pair<const char*, const char*>>& environment = {},
                    unsigned short columns = 80)
      : Terminal(arguments, environment, columns, nullptr) {}
  Terminal(const std::vector<std::string>& arguments,
           const std::vector<std::pair<const char*, const char*>>& environment,
           unsigned short columns, const char* state) {
    std::vector<const char*> argv{DAK_BINARY};
    for (const std::string& argument : arguments) argv.push_back(argument.c_str());
    argv.push_back(nullptr);
    winsize size{.ws_row = 24, .ws_col = columns, .ws_xpixel = 0, .ws_ypixel = 0};
    child_ = forkpty(&fd_, nullptr, nullptr, &size);
    if (child_ == 0) {
      setenv("TERM", "xterm", 1);
      setenv("XDG_STATE_HOME", state == nullptr ? own_state_.path().c_str() : state, 1);
      for (const char* name : {"NO_COLOR", "CLICOLOR", "CLICOLOR_FORCE"}) unsetenv(name);
      for (const auto& [name, value] : environment) setenv(name, value, 1);
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

  // In pieces, as a terminal holds only so much that nothing has read.
  void type(const std::string& text) {
    for (size_t at = 0; at < text.size();) {
      const ssize_t written =
          ::write(fd_, text.data() + at, std::min<size_t>(200, text.size() - at));
      ASSERT_GT(written, 0);
      at += static_cast<size_t>(written);
      pollfd polled{fd_, POLLIN, 0};
      while (poll(&polled, 1, 2) > 0 && take()) {
      }
    }
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
      if (poll(&polled, 1, 100) > 0) take();
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
  bool take() {
    std::array<char, 4096> buffer{};
    const ssize_t got = read(fd_, buffer.data(), buffer.size());
    if (got > 0) seen_.append(buffer.data(), static_cast<size_t>(got));
    return got > 0;
  }

  TemporaryFolder own_state_;
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

const std::vector<std::string> kSmallChat{"run", kGguf, "--device",  "cpu",
                                          "-n",  "4",   "--context", "128"};

// What a prompt that does not fit is refused with: it names the number of its tokens.
std::string refusal_of(const std::string& prompt) {
  std::vector<std::string> arguments = kSmallChat;
  arguments.insert(arguments.end(), {"-p", prompt});
  const std::string error = run_dak(arguments).err;
  const size_t begin = error.find("error: ") + 7;
  return error.substr(begin, error.find('\n', begin) - begin);
}

TEST(Chat, LinesLongerThanATerminalsOwnArriveWhole) {
  for (const size_t words : {816U, 1100U, 3000U}) {
    std::string line;
    for (size_t i = 0; i < words; ++i) line += "word ";
    line += "end";
    Terminal terminal(kSmallChat);
    ASSERT_NE(terminal.read_until(kPrompt), "");
    terminal.type(line + "\r");
    EXPECT_NE(terminal.read_until(refusal_of(line)), "") << words;
  }
}

TEST(Chat, APasteOfSeveralLinesIsOneMessage) {
  std::string lines;
  for (int i = 0; i < 60; ++i) lines += "line " + std::to_string(i) + (i < 59 ? "\n" : "");
  for (const std::string newline : {"\r", "\n"}) {
    std::string pasted = lines;
    for (size_t at = 0; (at = pasted.find('\n', at)) != std::string::npos; at += newline.size()) {
      pasted.replace(at, 1, newline);
    }
    Terminal terminal(kSmallChat);
    ASSERT_NE(terminal.read_until("\x1b[?2004h"), "");
    terminal.type("\x1b[200~" + pasted + "\x1b[201~");
    terminal.type("\r");
    EXPECT_NE(terminal.read_until(refusal_of(lines)), "");
    EXPECT_NE(terminal.read_until("\x1b[?2004h"), "");
    terminal.type("\x04");
    EXPECT_EQ(terminal.wait_for_end(), 0);
  }
}

TEST(Chat, LinesAreEditedAndKeptForTheNextChat) {
  const TemporaryFolder state;
  const std::filesystem::path file = state.path() / "dak" / "history";
  {
    Terminal terminal(kSmallChat, {}, 80, state.path().c_str());
    ASSERT_NE(terminal.read_until(kPrompt), "");
    // Left, left, delete backwards, write, to the beginning, write.
    terminal.type("helXo\x1b[D\x1b[D\x1b[C\x7fl\x01/\r");
    ASSERT_NE(terminal.read_until("Ctrl-C stops an answer"), "") << "help, of an unknown command";
    terminal.type("/gr\xc3\xbc\xc3\x9f\r");
    ASSERT_NE(terminal.read_until("Ctrl-C stops an answer"), "");
    terminal.type("\x04");
    EXPECT_EQ(terminal.wait_for_end(), 0);
  }
  const std::string kept = read_text_file(file);
  EXPECT_NE(kept.find("/hello\n"), std::string::npos) << kept;
  EXPECT_EQ(std::filesystem::status(file).permissions(), std::filesystem::perms(0600));
  Terminal terminal(kSmallChat, {}, 80, state.path().c_str());
  ASSERT_NE(terminal.read_until(kPrompt), "");
  terminal.type("\x1b[A");
  EXPECT_NE(terminal.read_until("/gr\xc3\xbc\xc3\x9f"), "");
  terminal.type("\x1b[A");
  EXPECT_NE(terminal.read_until("hello"), "");
  terminal.type("\x03");
  EXPECT_NE(terminal.read_until("Ctrl-D or /quit leaves"), "");
}

TEST(Chat, NoHistoryLeavesNone) {
  const TemporaryFolder state;
  std::vector<std::string> arguments = kSmallChat;
  arguments.emplace_back("--no-history");
  Terminal terminal(arguments, {}, 80, state.path().c_str());
  ASSERT_NE(terminal.read_until(kPrompt), "");
  terminal.type("/secret\r");
  ASSERT_NE(terminal.read_until("Ctrl-C stops an answer"), "");
  terminal.type("/quit\r");
  EXPECT_EQ(terminal.wait_for_end(), 0);
  EXPECT_TRUE(std::filesystem::is_empty(state.path()));
}

TEST(Chat, ADumbTerminalGetsTextAlone) {
  Terminal terminal(kSmallChat, {{"TERM", "dumb"}});
  std::string all = terminal.read_until(kPrompt);
  ASSERT_NE(all, "");
  terminal.type("hello\n");
  all += terminal.read_until(kPrompt);
  terminal.type("/stats\n");
  all += terminal.read_until(kPrompt);
  EXPECT_NE(all.find("tokens/s"), std::string::npos) << all;
  EXPECT_EQ(all.find('\x1b'), std::string::npos) << all;
  terminal.type(std::string(5000, 'x') + "\n");
  EXPECT_NE(terminal.read_until("4095"), "") << "the terminal cuts the line: said, not sent";
  terminal.type("/quit\n");
  EXPECT_EQ(terminal.wait_for_end(), 0);
}

TEST(Chat, NoColoursWhereTheyAreSwitchedOff) {
  for (const auto& off :
       std::vector<std::pair<const char*, const char*>>{{"NO_COLOR", "1"}, {"CLICOLOR", "0"}}) {
    Terminal terminal(kSmallChat, {off});
    std::string all = terminal.read_until(kPrompt);
    terminal.type("/stats\r");
    all += terminal.read_until("tokens/s");
    for (const char* style : {"\x1b[1m", "\x1b[2m", "\x1b[31m", "\x1b[0m"}) {
      EXPECT_EQ(all.find(style), std::string::npos) << off.first;
    }
  }
  Terminal terminal(kSmallChat);
  EXPECT_NE(terminal.read_until("\x1b[1m"), "") << "and are there else";
}

}  // namespace
}  // namespace dak
