// Divides an answer, piece by piece, into its text and its calls. A call is told of as soon as its
// name is known and its arguments begin; these follow as they come. What looks like a call and is
// none (no JSON, a name that is no tool's) is text. However the answer is cut into pieces, the
// events are the same when those of one kind are joined.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "server/tools/json_extent.h"
#include "server/tools/tag_match.h"
#include "server/tools/tool_form.h"
#include "server/tools/tool_signatures.h"

namespace dak {

struct ToolEvent {
  enum class Kind : uint8_t {
    kText,
    kCall,       // `text` is the tool's name
    kArguments,  // more of the last call's arguments: JSON text
    kEnd,        // the last call's arguments are whole
  };
  Kind kind{};
  std::string text;
  bool operator==(const ToolEvent&) const = default;
};

class ToolCallParser {
 public:
  // Both outlive this.
  ToolCallParser(const ToolForm& form, const ToolSignatures& tools) : form_(form), tools_(tools) {}

  std::vector<ToolEvent> push(std::string_view piece);
  // `cut`: the answer did not end by itself. Then what may have become a call is neither text nor
  // call, and a call that is not whole stays as it is.
  std::vector<ToolEvent> finish(bool cut);

  // Whether a call has begun, perhaps only its tag, whose arguments are not whole.
  bool inside() const { return state_ != State::kText && state_ != State::kBetween && !ended_; }

 private:
  enum class State : uint8_t {
    kText,
    kOpen,           // after `begin` or `between`: `open` or an object
    kObject,         // its brace
    kKey,            // in the object: a key or the end
    kValue,          // in the object: a colon and the value
    kInValue,        // in the object, a value
    kName,           //
    kArguments,      // after the name: JSON
    kInArguments,    //
    kParameter,      // after the name or an argument
    kParameterKey,   //
    kParameterText,  //
    kClose,          //
    kBetween,        // after a call
  };

  std::string_view rest() const { return std::string_view(held_).substr(at_); }
  void run();
  // Each does what it can; false: more must come first.
  bool step();
  bool read_text();
  bool read_bare_start();
  bool read_open();
  bool read_object();
  bool read_key();
  bool read_value();
  bool read_in_value();
  bool end_value();
  bool read_name();
  bool read_arguments();
  bool read_in_arguments();
  bool read_parameter();
  bool read_parameter_key();
  bool read_parameter_text();
  bool read_close();
  bool read_between();

  bool skip_spaces();  // false: nothing is left
  void take(size_t bytes);
  bool go(State state);
  bool refuse();  // what was taken is text
  bool opened();
  bool begin_call();
  bool end_call();
  void give(ToolEvent::Kind kind, std::string_view text);
  void give_value(std::string_view text);
  bool set_name(std::string_view written);
  TagFound parameter_end() const;
  void finish_text(bool cut);
  void finish_call(bool cut);
  void reset_call();

  const ToolForm& form_;
  const ToolSignatures& tools_;
  std::vector<ToolEvent> events_;
  std::string held_;  // from `at_` on it is still to be read
  size_t at_ = 0;
  State state_ = State::kText;
  std::string taken_;   // read and not yet known to be a call
  bool told_ = false;   // of this call
  bool ended_ = false;  // its arguments are whole
  bool any_text_ = false;
  bool any_call_ = false;

  // This call.
  std::string name_;
  std::string key_;
  std::string value_;      // of the key, where it is not passed on at once
  std::string arguments_;  // came before the name
  JsonExtent extent_;
  enum class Use : uint8_t { kSkip, kName, kHold, kPass } use_ = Use::kSkip;
  uint8_t types_ = 0;
  int64_t parameters_ = 0;
  bool value_begun_ = false;  // kParameterText
};

}  // namespace dak
