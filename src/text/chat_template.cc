#include "text/chat_template.h"

#include <functional>
#include <limits>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <utility>

#include "text/jinja/interpreter.h"
#include "text/jinja/lexer.h"
#include "text/jinja/parser.h"

namespace dak {
namespace {

using jinja::Interpreter;
using jinja::Value;

Value digits(std::string text) {
  const bool whole = text.find_first_of(".eE") == std::string::npos;
  return jinja::Digits{.text = std::make_shared<const std::string>(std::move(text)),
                       .whole = whole};
}

Value to_value(Interpreter& in, const OrderedJson& json, int depth = 0) {
  if (depth >= jinja::kMaxDepth) {
    jinja::fail_exhausted(fmt::format("input nested deeper than {}", jinja::kMaxDepth));
  }
  switch (json.type()) {
    case OrderedJson::value_t::boolean:
      return json.get<bool>();
    case OrderedJson::value_t::number_integer:
      return json.get<int64_t>();
    case OrderedJson::value_t::number_unsigned: {
      const auto number = json.get<uint64_t>();
      if (number > static_cast<uint64_t>(std::numeric_limits<int64_t>::max())) {
        return digits(std::to_string(number));
      }
      return static_cast<int64_t>(number);
    }
    case OrderedJson::value_t::number_float:
      return json.get<double>();
    case OrderedJson::value_t::binary: {
      const auto& bytes = json.get_binary();
      return digits(std::string(bytes.begin(), bytes.end()));
    }
    case OrderedJson::value_t::string:
      return in.text(json.get_ref<const std::string&>());
    case OrderedJson::value_t::array: {
      std::vector<Value> items;
      items.reserve(json.size());
      for (const OrderedJson& item : json) items.push_back(to_value(in, item, depth + 1));
      return in.list(std::move(items));
    }
    case OrderedJson::value_t::object: {
      std::vector<jinja::Dict::Entry> entries;
      entries.reserve(json.size());
      for (const auto& [key, item] : json.items()) {
        entries.emplace_back(in.text(key), to_value(in, item, depth + 1));
      }
      return in.dict(std::move(entries));
    }
    default:
      return jinja::None{};
  }
}

void set_variables(Interpreter& in, const ChatInput& input) {
  in.set_global("messages", to_value(in, input.messages));
  in.set_global("tools", to_value(in, input.tools));
  in.set_global("documents", jinja::None{});
  in.set_global("add_generation_prompt", input.add_generation_prompt);
  in.set_global("bos_token", in.text(input.bos_token));
  in.set_global("eos_token", in.text(input.eos_token));
  // The names are viewed, not copied: they live as long as `input` does.
  if (!input.extra.is_object()) return;
  for (auto it = input.extra.begin(); it != input.extra.end(); ++it) {
    in.set_global(it.key(), to_value(in, it.value()));
  }
}

// A template's message may hold anything; an error is one line.
std::string one_line(std::string text) {
  for (char& c : text) {
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) c = ' ';
  }
  if (text.size() > 1000) text = text.substr(0, 1000) + "...";
  return text;
}

}  // namespace

struct ChatTemplate::Impl {
  std::string where;
  jinja::Block block;
  std::set<std::string, std::less<>> variables;
  std::set<std::string, std::less<>> words;
  std::optional<Error> fault;

  void note_words(std::string_view source) {
    bool attribute = false;
    for (const jinja::Token& token : jinja::tokenize(source, where)) {
      const bool is_name = token.kind == jinja::TokenKind::kName;
      if (is_name && !attribute) variables.insert(token.text);
      if (is_name || token.kind == jinja::TokenKind::kString) words.insert(token.text);
      attribute = token.kind == jinja::TokenKind::kOperator && token.text == ".";
    }
  }
};

ChatTemplate::ChatTemplate(std::string_view source, std::string where)
    : impl_(std::make_unique<Impl>()) {
  if (source.find_first_not_of(" \t\r\n") == source.npos) {
    throw_corrupt(where, {}, {}, "the chat template is empty",
                  "give a raw prompt, or a model that has a template");
  }
  impl_->block = jinja::parse_template(source, where);
  impl_->where = std::move(where);
  impl_->note_words(source);
}

bool ChatTemplate::reads(std::string_view variable) const {
  return impl_->variables.contains(variable);
}

bool ChatTemplate::mentions(std::string_view word) const { return impl_->words.contains(word); }

ChatTemplate::ChatTemplate(const Error& reason) : impl_(std::make_unique<Impl>()) {
  impl_->fault = reason;
}

const Error* ChatTemplate::fault() const { return impl_->fault ? &*impl_->fault : nullptr; }

ChatTemplate::~ChatTemplate() = default;
ChatTemplate::ChatTemplate(ChatTemplate&&) noexcept = default;
ChatTemplate& ChatTemplate::operator=(ChatTemplate&&) noexcept = default;

std::string ChatTemplate::render(const ChatInput& input) const {
  if (impl_->fault) throw Error(*impl_->fault);
  Interpreter interpreter;
  try {
    set_variables(interpreter, input);
    return interpreter.run(impl_->block);
  } catch (const jinja::Fault& fault) {
    jinja::throw_template_error(fault.code(), impl_->where, interpreter.line(),
                                one_line(fault.what()));
  }
}

}  // namespace dak
