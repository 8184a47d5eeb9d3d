#include "cli/chat.h"

#include <fmt/core.h>
#include <unistd.h>

#include <cstdio>
#include <memory>
#include <optional>

#include "base/error.h"
#include "cli/line_editor.h"
#include "cli/output.h"
#include "cli/report.h"
#include "cli/terminal.h"

namespace dak {
namespace {

constexpr std::string_view kHelp =
    "/reset starts over, /stats shows the last answer's figures, /quit leaves (or Ctrl-D);\n"
    "Ctrl-C stops an answer\n";

class Chat {
 public:
  Chat(Engine& engine, const GenerateRequest& settings, const ChatOptions& options)
      : engine_(engine),
        session_(engine),
        lines_(line_source(interrupt_, options.keep_history ? history_file() : std::nullopt)),
        settings_(settings),
        system_(options.system) {
    input_.split_special_tokens = options.split_special_tokens;
    reset();
  }

  int loop() {
    settings_.cancel = &interrupt_.flag();
    settings_.on_token = [](TokenId, std::string_view piece) {
      print_out("{}", piece);
      flush_output();
    };
    print_err("{}{}: {}{}", style_.dim, engine_.config().name, kHelp, style_.reset);
    while (true) {
      interrupt_.reset();
      const std::optional<Line> line = lines_->next();
      if (!line) break;
      if (line->interrupted) {
        print_out("\n{}Ctrl-D or /quit leaves{}\n", style_.dim, style_.reset);
        continue;
      }
      if (line->text.empty()) continue;
      if (line->text == "/quit" || line->text == "/exit") return 0;
      if (line->text.front() == '/') {
        command(line->text);
      } else {
        answer(line->text);
      }
    }
    print_out("\n");
    return 0;
  }

 private:
  void reset() {
    input_.messages = OrderedJson::array();
    if (!system_.empty()) input_.messages.push_back({{"role", "system"}, {"content", system_}});
  }

  void command(const std::string& text) {
    if (text == "/reset") {
      reset();
      print_out("{}history cleared{}\n", style_.dim, style_.reset);
    } else if (text == "/stats") {
      print_out("{}{}{}", style_.dim, run_table(last_, engine_.plan()), style_.reset);
    } else {
      print_out("{}{}{}", style_.dim, kHelp, style_.reset);
    }
  }

  // An answer that cannot be given (context full, say) leaves the history as it was.
  void answer(const std::string& question) {
    const OrderedJson before = input_.messages;
    input_.messages.push_back({{"role", "user"}, {"content", question}});
    try {
      settings_.prompt = engine_.chat_prompt(input_);
      last_ = session_.generate(settings_);
    } catch (const Error& error) {
      input_.messages = before;
      print_out("{}{}{}\n", style_.red, error.what(), style_.reset);
      return;
    }
    input_.messages.push_back({{"role", "assistant"}, {"content", last_.text}});
    if (last_.reason == FinishReason::kCancelled)
      print_out("{} [stopped]{}", style_.dim, style_.reset);
    if (last_.reason == FinishReason::kContextFull) {
      print_out("{} [context full: /reset or a larger --context]{}", style_.dim, style_.reset);
    }
    print_out("\n");
  }

  Engine& engine_;
  Session session_;
  InterruptGuard interrupt_;
  std::unique_ptr<LineSource> lines_;
  GenerateRequest settings_;
  std::string system_;
  ChatInput input_;
  GenerateResult last_;
  Style style_{STDOUT_FILENO};
};

}  // namespace

int chat(Engine& engine, const GenerateRequest& settings, const ChatOptions& options) {
  return Chat(engine, settings, options).loop();
}

}  // namespace dak
