// What a model's chat templates say about its answers: how it calls tools, how it reasons, and
// which of a request's wishes they can be told.
#pragma once

#include <string>
#include <string_view>

#include "engine/engine.h"
#include "server/openai_request.h"
#include "server/reasoning/reasoning_probe.h"
#include "server/tools/special_marks.h"
#include "server/tools/tool_probe.h"

namespace dak {

class ChatForms {
 public:
  // `engine` outlives this. `model`: its name, for errors.
  ChatForms(const Engine& engine, std::string model);

  const ToolSupport& tools() const { return tools_; }
  // Of an answer to a conversation with tools, or without; null: none that dak knows.
  const ReasoningForm* reasoning(bool with_tools) const {
    return with_tools ? tool_reasoning_ : reasoning_;
  }
  // Special tokens in either, which are text.
  const SpecialMarks& marks() const { return marks_; }

  // The request as its template wants it. Throws ApiError (400) for tools that the model would not
  // see or whose calls could not be read, and for wishes that the template does not read.
  ChatInput input(const ChatRequest& request) const;

 private:
  void check_tools() const;
  void add_effort(const ChatRequest& request, const ChatTemplate& by, ChatInput& input) const;
  void check_extra(const ChatTemplate& by, const ChatInput& input) const;

  const Engine& engine_;
  std::string model_;
  ToolSupport tools_;
  const ReasoningForm* reasoning_ = nullptr;
  const ReasoningForm* tool_reasoning_ = nullptr;
  SpecialMarks marks_;
};

}  // namespace dak
