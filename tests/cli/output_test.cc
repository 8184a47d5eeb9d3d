// What the commands do when what they say cannot be written, or nothing can be read.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <csignal>
#include <fstream>
#include <functional>
#include <map>
#include <sstream>
#include <string>
#include <vector>

#include "../server/http_client.h"
#include "process.h"

namespace dak {
namespace {

// The program with descriptors as `prepare`, which runs in the child, makes them.
pid_t start_dak(const std::vector<std::string>& arguments, const std::function<void()>& prepare) {
  std::vector<const char*> argv{DAK_BINARY};
  for (const std::string& argument : arguments) argv.push_back(argument.c_str());
  argv.push_back(nullptr);
  const pid_t child = fork();
  if (child == 0) {
    prepare();
    execv(DAK_BINARY, const_cast<char* const*>(argv.data()));
    _exit(127);
  }
  return child;
}

int status_of(pid_t child) {
  int status = 0;
  waitpid(child, &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

void open_as(int fd, const char* path, int flags) {
  const int opened = open(path, flags, 0666);
  dup2(opened, fd);
  if (opened != fd) close(opened);
}

// Status, and what it said on standard error.
std::pair<int, std::string> run_with(const std::vector<std::string>& arguments,
                                     const std::function<void()>& prepare) {
  const TemporaryFolder folder;
  const std::string err = folder.path() / "err";
  const int status = status_of(start_dak(arguments, [&] {
    open_as(STDIN_FILENO, "/dev/null", O_RDONLY);
    open_as(STDERR_FILENO, err.c_str(), O_WRONLY | O_CREAT);
    prepare();
  }));
  std::ostringstream text;
  text << std::ifstream(err).rdbuf();
  return {status, text.str()};
}

const std::vector<std::vector<std::string>>& commands() {
  static const std::vector<std::vector<std::string>> kCommands{
      {"--help"},
      {"--version"},
      {"serve", "--help"},
      {"inspect", kGguf},
      {"inspect", kFolder, "--json"},
      {"plan", kFolder, "--device", "cpu"},
      {"plan", kFolder, "--device", "cpu", "--json"},
      {"run", kGguf, "-p", "hi", "-n", "3", "--device", "cpu"},
      {"run", kGguf, "-p", "hi", "-n", "3", "--device", "cpu", "--json"},
      {"serve", kGguf, "--port", "0", "--device", "cpu", "--threads", "1"}};
  return kCommands;
}

TEST(Output, AFullStandardOutputEndsEveryCommand) {
  for (const auto& arguments : commands()) {
    const auto [status, err] =
        run_with(arguments, [] { open_as(STDOUT_FILENO, "/dev/full", O_WRONLY); });
    EXPECT_EQ(status, 1) << arguments[0];
    EXPECT_NE(err.find("dak: error: cannot write to standard output: No space left on device\n"),
              std::string::npos)
        << arguments[0] << ": " << err;
  }
}

TEST(Output, AReaderThatHasLeftEndsEveryCommandQuietly) {
  for (const auto& arguments : commands()) {
    const auto [status, err] = run_with(arguments, [] {
      std::array<int, 2> ends{};
      if (pipe(ends.data()) != 0) _exit(126);
      close(ends[0]);
      dup2(ends[1], STDOUT_FILENO);
      close(ends[1]);
    });
    EXPECT_EQ(status, 128 + SIGPIPE) << arguments[0];
    EXPECT_EQ(err.find("error"), std::string::npos) << arguments[0] << ": " << err;
  }
}

TEST(Output, WhatCannotBeSaidOnStandardErrorHarmsNothing) {
  const std::vector<std::string> run{"run", kGguf, "-p", "hi", "-n", "3", "--device", "cpu"};
  const auto full = [] { open_as(STDERR_FILENO, "/dev/full", O_WRONLY); };
  const auto closed = [] { close(STDERR_FILENO); };
  for (const std::function<void()>& prepare : {std::function<void()>(full), {closed}}) {
    EXPECT_EQ(status_of(start_dak(run,
                                  [&] {
                                    open_as(STDOUT_FILENO, "/dev/null", O_WRONLY);
                                    prepare();
                                  })),
              0);
    EXPECT_EQ(status_of(start_dak({"inspect", "/nonexistent"}, prepare)), 1);
    EXPECT_EQ(status_of(start_dak({"inspect", "--nonsense"}, prepare)), 2);
  }
}

TEST(Output, ClosedDescriptorsAreNoFiles) {
  const std::vector<std::string> run{"run", kGguf, "-n", "3", "--device", "cpu", "--raw"};
  const auto [status, err] = run_with(run, [] { close(STDIN_FILENO); });
  const auto [empty_status, empty_err] = run_with(run, [] {});
  EXPECT_EQ(status, empty_status);
  EXPECT_EQ(status == 0, err.find("error") == std::string::npos) << err;
  EXPECT_EQ(err.find("does not fit"), std::string::npos) << err;
  EXPECT_EQ(status_of(start_dak({"run", kGguf, "-p", "hi", "-n", "3", "--device", "cpu"},
                                [] {
                                  for (const int fd : {0, 1, 2}) close(fd);
                                })),
            0);
}

TEST(Output, AnUnreadableStandardInputIsAnError) {
  const auto [status, err] = run_with({"run", kGguf, "-n", "3", "--device", "cpu"},
                                      [] { open_as(STDIN_FILENO, "/", O_RDONLY); });
  EXPECT_EQ(status, 1);
  EXPECT_NE(err.find("standard input: cannot read: Is a directory"), std::string::npos) << err;
}

TEST(Output, AFileThatCannotBeWrittenIsNamedAndNotReplaced) {
  const ProcessResult result = run_dak({"plan", kFolder, "--device", "cpu", "--svg", "/dev/full"});
  EXPECT_EQ(result.status, 1);
  EXPECT_NE(result.err.find("/dev/full: cannot be written: No space left on device"),
            std::string::npos)
      << result.err;
  struct stat info {};
  ASSERT_EQ(stat("/dev/full", &info), 0);
  EXPECT_TRUE(S_ISCHR(info.st_mode));
}

// With a log that is full, closed, or a pipe whose reader has left or does not read.
TEST(Output, AServerOutlivesItsLog) {
  std::array<int, 2> unread{};
  ASSERT_EQ(pipe2(unread.data(), O_CLOEXEC), 0);
  fcntl(unread[1], F_SETFL, O_NONBLOCK);
  const std::string block(4096, 'x');
  while (write(unread[1], block.data(), block.size()) > 0) {
  }
  fcntl(unread[1], F_SETFL, 0);
  const std::vector<std::function<void()>> logs{
      [] { open_as(STDERR_FILENO, "/dev/full", O_WRONLY); }, [] { close(STDERR_FILENO); },
      [] {
        std::array<int, 2> left{};
        if (pipe(left.data()) != 0) _exit(126);
        close(left[0]);
        dup2(left[1], STDERR_FILENO);
      },
      [&] { dup2(unread[1], STDERR_FILENO); }};
  for (size_t i = 0; i < logs.size(); ++i) {
    std::array<int, 2> out{};
    ASSERT_EQ(pipe2(out.data(), O_CLOEXEC), 0);
    const pid_t child = start_dak(
        {"serve", kGguf, "--port", "0", "--device", "cpu", "--threads", "1", "--log-requests"},
        [&] {
          dup2(out[1], STDOUT_FILENO);
          logs[i]();
        });
    close(out[1]);
    std::string said(4096, '\0');
    said.resize(static_cast<size_t>(std::max<ssize_t>(0, read(out[0], said.data(), said.size()))));
    const size_t at = said.find("127.0.0.1:");
    ASSERT_NE(at, std::string::npos) << i << said;
    const auto port = static_cast<uint16_t>(std::stoi(said.substr(at + 10)));
    for (int request = 0; request < 3; ++request) {
      HttpClient one(port);
      const std::string body = R"({"prompt":"a","max_tokens":2})";
      one.send(
          "POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json"
          "\r\nContent-Length: " +
          std::to_string(body.size()) + "\r\n\r\n" + body);
      EXPECT_EQ(one.answer(30).status, 200) << i;
    }
    kill(child, SIGTERM);
    EXPECT_EQ(status_of(child), 0) << i;
    close(out[0]);
  }
  for (const int end : unread) close(end);
}

void allow_files(rlim_t soft, rlim_t hard) {
  const rlimit limit{.rlim_cur = soft, .rlim_max = hard};
  if (setrlimit(RLIMIT_NOFILE, &limit) != 0) _exit(126);
}

TEST(Output, AModelOfMoreFilesThanMayBeOpenIsReadOrTheLimitNamed) {
  const std::vector<std::string> inspect{"inspect", kModels + "hf/llama_mha"};  // three files
  const auto [status, err] = run_with(inspect, [] { allow_files(5, 64); });
  EXPECT_EQ(status, 0) << err;
  const auto [refused, why] = run_with(inspect, [] { allow_files(5, 5); });
  EXPECT_EQ(refused, 1);
  EXPECT_NE(why.find("Too many open files"), std::string::npos) << why;
  EXPECT_NE(why.find("ulimit -n"), std::string::npos) << why;
}

TEST(Output, AServerWithFewOpenFilesTakesFewConnections) {
  std::array<int, 2> out{};
  ASSERT_EQ(pipe(out.data()), 0);
  const pid_t server =
      start_dak({"serve", kGguf, "--port", "0", "--device", "cpu", "--threads", "1"}, [&] {
        dup2(out[1], STDOUT_FILENO);
        allow_files(64, 64);
      });
  close(out[1]);
  std::string said(4096, '\0');
  said.resize(static_cast<size_t>(std::max<ssize_t>(0, read(out[0], said.data(), said.size()))));
  const size_t at = said.find("127.0.0.1:");
  ASSERT_NE(at, std::string::npos) << said;
  const auto port = static_cast<uint16_t>(std::stoi(said.substr(at + 10)));
  const std::string get = "GET /v1/models HTTP/1.1\r\nHost: localhost\r\n\r\n";
  std::map<int, int> statuses;
  {
    std::vector<HttpClient> open;
    for (int i = 0; i < 40; ++i) {
      open.emplace_back(port).send(get);
      ++statuses[open.back().answer(30).status];
    }
  }
  EXPECT_EQ(statuses[200], 32);
  EXPECT_EQ(statuses[503], 8);
  kill(server, SIGTERM);
  EXPECT_EQ(status_of(server), 0);
  close(out[0]);
  const auto [status, err] =
      run_with({"serve", kGguf, "--port", "0", "--device", "cpu"}, [] { allow_files(20, 20); });
  EXPECT_EQ(status, 1);
  EXPECT_NE(err.find("20 open files; raise ulimit -n"), std::string::npos) << err;
}

}  // namespace
}  // namespace dak
