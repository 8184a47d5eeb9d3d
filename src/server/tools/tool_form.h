// How models write tool calls. A form is a row of data: one parser reads all of them
// (tool_parser.h), one grammar holds answers to any of them (tool_grammar.h), and the model's own
// template says which is meant (tool_probe.h).
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

namespace dak {

struct ToolForm {
  enum class Style : uint8_t {
    kObject,      // {"name": NAME, "arguments": {...}}
    kNamed,       // NAME, then the arguments as JSON
    kParameters,  // NAME, then each argument between tags, strings without quotes
  };
  std::string_view name;
  Style style{};

  // A space in these stands for any white space, or none. What is empty is not written.
  std::string_view begin = {};    // once, before the calls
  std::string_view open = {};     // before each call
  std::string_view close = {};    // after each call
  std::string_view between = {};  // between two calls
  std::string_view end = {};      // once, after the calls

  // kObject. Without a key for the name the arguments' key is the name: {NAME: {...}}.
  std::string_view name_key = "name";
  std::string_view arguments_key = "arguments";

  // kNamed, kParameters.
  std::string_view after_name = {};
  std::string_view id_before = {};    // an id stands before the name, up to this
  std::string_view id_after = {};     // an id follows the name, from this on
  std::string_view name_prefix = {};  // no part of the tool's name

  // kParameters.
  std::string_view parameter = {};  // before the argument's key
  std::string_view after_key = {};
  std::string_view parameter_end = {};
  // Between the key and `after_key`: then true, if the value is a string, or false.
  std::string_view string_flag = {};
  bool own_lines = false;  // values stand on lines of their own: a line break at either end is none

  // Only a call's first brace says that it is one: it has to begin the answer.
  bool bare() const { return begin.empty() && open.empty(); }
};

// Where two rows could be meant, the earlier one is.
std::span<const ToolForm> tool_forms();

}  // namespace dak
