// A JSON schema as it was given: what its words are, where its parts are and what they refer to.
#pragma once

#include <map>
#include <string>
#include <string_view>

#include "server/schema/text_dfa.h"
#include "text/chat_template.h"

namespace dak {

class SchemaSource {
 public:
  // `root` outlives this; `param`: the request's field that it is in.
  SchemaSource(const OrderedJson& root, std::string_view param) : root_(root), param_(param) {}

  // Notes that `schema` is at `path`, and refuses words in it that dak does not know or hold an
  // answer to. Once for each schema.
  void enter(const OrderedJson& schema, const std::string& path);
  // The part `word` of a schema that was entered, or the `index`th of it, entered too.
  const OrderedJson& part(const OrderedJson& schema, std::string_view word);
  const OrderedJson& part(const OrderedJson& schema, std::string_view word, size_t index);
  const OrderedJson& part(const OrderedJson& schema, std::string_view word, std::string_view key);
  // What `$ref` of an entered schema points to, entered too.
  const OrderedJson& target(const OrderedJson& schema);

  std::string path(const OrderedJson& schema) const;
  // Throw ApiError (400) naming the part of the schema.
  [[noreturn]] void fail(const OrderedJson& schema, std::string_view problem) const;
  [[noreturn]] void fail_at(std::string_view path, std::string_view problem) const;

  // The DFA of a pattern at /`word` of `schema`; made once.
  const TextDfa& pattern(const OrderedJson& schema, std::string_view word,
                         const std::string& pattern, bool widest = false);
  // A count at `word`, or nothing.
  std::optional<uint32_t> count(const OrderedJson& schema, std::string_view word) const;

 private:
  void check_words(const OrderedJson& schema, const std::string& path) const;

  const OrderedJson& root_;
  std::string param_;
  std::map<const OrderedJson*, std::string> paths_;
  std::map<std::pair<std::string, bool>, TextDfa> patterns_;
};

}  // namespace dak
