#include "cli/line_editor.h"

#include <fcntl.h>
#include <fmt/core.h>
#include <histedit.h>
#include <poll.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <clocale>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <cwchar>

#include "cli/output.h"

namespace dak {
namespace {

constexpr int kHistoryLines = 1000;
constexpr size_t kLongestTerminalLine = 4095;  // of a terminal's own line editing: tty_ldisc(4)
constexpr const char* kPasteBegins = "\\e[200~";
constexpr std::wstring_view kPasteEnds = L"\x1b[201~";

// Waits for a byte: 1, 0 at the end of input, -1 when Ctrl-C came first or errno is EINTR.
int wait_for_input(const InterruptGuard& interrupt) {
  std::array<pollfd, 2> polled{{{STDIN_FILENO, POLLIN, 0}, {interrupt.fd(), POLLIN, 0}}};
  if (poll(polled.data(), polled.size(), -1) < 0) return -1;
  return polled[1].revents != 0 ? -1 : 1;
}

// Reads by itself: a stream's buffer would hide from poll() what is there.
class PlainLines : public LineSource {
 public:
  explicit PlainLines(const InterruptGuard& interrupt) : interrupt_(interrupt) {}

  std::optional<Line> next() override {
    const Style style(STDOUT_FILENO);
    print_out("{}> {}", style.bold, style.reset);
    flush_output();
    while (buffer_.find('\n') == std::string::npos) {
      if (wait_for_input(interrupt_) < 0) {
        if (!interrupt_.flag()) continue;  // another signal
        buffer_.clear();
        return Line{.text = {}, .interrupted = true};
      }
      std::array<char, 4096> piece{};
      const ssize_t got = read(STDIN_FILENO, piece.data(), piece.size());
      if (got <= 0) return std::nullopt;
      buffer_.append(piece.data(), static_cast<size_t>(got));
    }
    const size_t end = buffer_.find('\n');
    Line line{.text = buffer_.substr(0, end)};
    buffer_.erase(0, end + 1);
    if (!line.text.empty() && line.text.back() == '\r') line.text.pop_back();
    if (line.text.size() < kLongestTerminalLine) return line;
    print_out(
        "dak: this terminal cuts lines at {} bytes, so this one is not sent; use -p, or a pipe\n",
        kLongestTerminalLine);
    return Line{};
  }

 private:
  const InterruptGuard& interrupt_;
  std::string buffer_;
};

volatile std::sig_atomic_t terminal_changed = 0;
void on_terminal_change(int) { terminal_changed = 1; }

// While one lives, a stop and continue (Ctrl-Z, fg) or another size of the terminal is noticed.
class TerminalSignals {
 public:
  TerminalSignals() {
    struct sigaction action {};
    action.sa_handler = on_terminal_change;
    for (size_t i = 0; i < kSignals.size(); ++i) sigaction(kSignals[i], &action, &previous_[i]);
  }
  ~TerminalSignals() {
    for (size_t i = 0; i < kSignals.size(); ++i) sigaction(kSignals[i], &previous_[i], nullptr);
  }
  TerminalSignals(const TerminalSignals&) = delete;
  TerminalSignals& operator=(const TerminalSignals&) = delete;

 private:
  static constexpr std::array kSignals{SIGCONT, SIGWINCH};
  std::array<struct sigaction, kSignals.size()> previous_{};
};

// History of lines in memory and, if there is a file, in it after each line.
class LineHistory {
 public:
  explicit LineHistory(const std::optional<std::filesystem::path>& file)
      : history_(history_init()), file_(file) {
    HistEvent event{};
    history(history_, &event, H_SETSIZE, kHistoryLines);
    history(history_, &event, H_SETUNIQUE, 1);
    if (!file_) return;
    std::error_code failed;
    std::filesystem::create_directories(file_->parent_path(), failed);
    if (std::filesystem::exists(*file_, failed)) {
      history(history_, &event, H_LOAD, file_->c_str());
    }
  }
  ~LineHistory() { history_end(history_); }
  LineHistory(const LineHistory&) = delete;
  LineHistory& operator=(const LineHistory&) = delete;

  History* get() const { return history_; }

  void add(const std::string& line) {
    HistEvent event{};
    history(history_, &event, H_ENTER, line.c_str());
    if (!file_ || save()) return;
    print_err("dak: {}: cannot be written: {}; the history is kept for this chat alone\n",
              file_->string(), std::strerror(errno));
    file_.reset();
  }

 private:
  // Whole or not at all, and for its owner alone from the first byte.
  bool save() const {
    const std::string part = file_->string() + ".part";
    const int fd = open(part.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0) return false;
    FILE* stream = fchmod(fd, 0600) == 0 ? fdopen(fd, "w") : nullptr;
    if (stream == nullptr) return close(fd), false;
    HistEvent event{};
    const bool written = history(history_, &event, H_SAVE_FP, stream) >= 0;
    return std::fclose(stream) == 0 && written && std::rename(part.c_str(), file_->c_str()) == 0;
  }

  History* history_;
  std::optional<std::filesystem::path> file_;
};

class EditedLines : public LineSource {
 public:
  EditedLines(const InterruptGuard& interrupt, const std::optional<std::filesystem::path>& file)
      : interrupt_(interrupt), history_(file), edit_(el_init("dak", stdin, stdout, stderr)) {
    const Style style(STDOUT_FILENO);
    // Between \1 stands what takes no room on the line.
    if (!style.bold.empty()) prompt_ = "\1" + style.bold + "\1> \1" + style.reset + "\1";
    el_set(edit_, EL_CLIENTDATA, this);
    el_set(edit_, EL_EDITOR, "emacs");
    el_set(edit_, EL_PROMPT_ESC, &EditedLines::prompt, '\1');
    el_set(edit_, EL_HIST, history, history_.get());
    el_set(edit_, EL_GETCFN, &EditedLines::read_character);
    el_set(edit_, EL_ADDFN, "dak-paste", "insert what the terminal pastes", &EditedLines::paste);
    el_source(edit_, nullptr);  // ~/.editrc
    el_set(edit_, EL_BIND, kPasteBegins, "dak-paste", nullptr);
  }
  ~EditedLines() override { el_end(edit_); }
  EditedLines(const EditedLines&) = delete;
  EditedLines& operator=(const EditedLines&) = delete;

  std::optional<Line> next() override {
    el_resize(edit_);
    interrupted_ = false;
    // el_gets would show the prompt first: the terminal's own Backspace would edit what is typed
    // then.
    el_set(edit_, EL_PREP_TERM, 1);
    set_bracketed_paste(true);
    int length = 0;
    const char* read = el_gets(edit_, &length);
    set_bracketed_paste(false);
    if (interrupted_) return Line{.text = {}, .interrupted = true};
    if (read == nullptr) return std::nullopt;
    Line line{.text = read};
    while (line.text.ends_with('\n')) line.text.pop_back();
    if (!line.text.empty()) history_.add(line.text);
    return line;
  }

 private:
  static EditedLines& self(EditLine* edit) {
    void* data = nullptr;
    el_get(edit, EL_CLIENTDATA, &data);
    return *static_cast<EditedLines*>(data);
  }

  static char* prompt(EditLine* edit) { return self(edit).prompt_.data(); }

  // With it the terminal says where a paste begins and ends, so that its newlines send nothing.
  static void set_bracketed_paste(bool on) {
    print_text(on ? "\x1b[?2004h" : "\x1b[?2004l");
    flush_output();
  }

  // 1, or 0 at the end of input or by Ctrl-C. Bytes that are no UTF-8 become the sign for that.
  static int read_character(EditLine* edit, wchar_t* character) {
    EditedLines& lines = self(edit);
    std::mbstate_t state{};
    while (true) {
      if (wait_for_input(lines.interrupt_) < 0) {
        if (lines.interrupt_.flag()) {
          lines.interrupted_ = true;
          return 0;
        }
        if (terminal_changed != 0) lines.draw_again();
        continue;
      }
      char byte = 0;
      const ssize_t got = read(STDIN_FILENO, &byte, 1);
      if (got < 0 && errno == EINTR) continue;
      if (got <= 0) return 0;
      const size_t used = std::mbrtowc(character, &byte, 1, &state);
      if (used == static_cast<size_t>(-2)) continue;  // more bytes of it to come
      if (used == static_cast<size_t>(-1)) *character = L'\ufffd';
      return 1;
    }
  }

  static unsigned char paste(EditLine* edit, int) {
    std::wstring text;
    wchar_t character = 0;
    while (!text.ends_with(kPasteEnds)) {
      if (el_wgetc(edit, &character) != 1) return CC_EOF;
      text += character;
    }
    text.resize(text.size() - kPasteEnds.size());
    std::ranges::replace(text, L'\r', L'\n');  // terminals paste a newline as Enter's \r
    return el_winsertstr(edit, text.c_str()) == 0 ? CC_REFRESH : CC_ERROR;
  }

  // The shell has had the terminal, or its window has another size.
  void draw_again() {
    terminal_changed = 0;
    el_resize(edit_);
    el_set(edit_, EL_PREP_TERM, 0);
    el_set(edit_, EL_PREP_TERM, 1);
    set_bracketed_paste(true);
    el_set(edit_, EL_REFRESH);
  }

  const InterruptGuard& interrupt_;
  const TerminalSignals signals_;
  LineHistory history_;
  std::string prompt_ = "> ";
  EditLine* edit_;
  bool interrupted_ = false;
};

// libedit works in characters of the locale; without one of UTF-8 it would see bytes.
void use_utf8() {
  const char* locale = std::setlocale(LC_CTYPE, "");
  if (locale == nullptr || MB_CUR_MAX < 4) std::setlocale(LC_CTYPE, "C.UTF-8");
}

}  // namespace

std::optional<std::filesystem::path> history_file() {
  const char* state = std::getenv("XDG_STATE_HOME");
  if (state != nullptr && std::filesystem::path(state).is_absolute()) {
    return std::filesystem::path(state) / "dak" / "history";
  }
  const char* home = std::getenv("HOME");
  if (home == nullptr || *home == '\0') return std::nullopt;
  return std::filesystem::path(home) / ".local" / "state" / "dak" / "history";
}

std::unique_ptr<LineSource> line_source(const InterruptGuard& interrupt,
                                        const std::optional<std::filesystem::path>& history) {
  if (!moves_cursor(STDIN_FILENO) || !moves_cursor(STDOUT_FILENO)) {
    return std::make_unique<PlainLines>(interrupt);
  }
  use_utf8();
  return std::make_unique<EditedLines>(interrupt, history);
}

}  // namespace dak
