#include "server/schema/schema_check.h"

#include <algorithm>
#include <cmath>

#include "server/schema/text_formats.h"

namespace dak {
namespace {

constexpr int kDeepestCheck = 200;

bool is_whole(const OrderedJson& value) {
  return value.is_number_integer() ||
         (value.is_number_float() && std::floor(value.get<double>()) == value.get<double>());
}

class Check {
 public:
  Check(SchemaSource& source, const OrderedJson& schema, const OrderedJson& value, int depth)
      : source_(source), schema_(schema), value_(value), depth_(depth) {}

  bool passes() { return combined() && passes_alone(false); }
  bool passes_alone(bool alone = true) {
    alone_ = alone;
    return fixed() && (!value_.is_number() || number()) && (!value_.is_string() || string()) &&
           (!value_.is_array() || array()) && (!value_.is_object() || object());
  }

 private:
  const OrderedJson* find(std::string_view word) const {
    const auto found = schema_.find(word);
    return found == schema_.end() ? nullptr : &*found;
  }
  bool is_valid(const OrderedJson& schema, const OrderedJson& value) {
    return holds(source_, schema, value, depth_ + 1);
  }

  bool combined() {
    if (find("$ref") != nullptr && !is_valid(source_.target(schema_), value_)) return false;
    for (const std::string_view word : {"allOf", "anyOf", "oneOf"}) {
      const OrderedJson* const parts = find(word);
      if (parts == nullptr) continue;
      size_t valid = 0;
      for (size_t i = 0; i < parts->size(); ++i) {
        valid += is_valid(source_.part(schema_, word, i), value_) ? 1 : 0;
      }
      if (word == "allOf" ? valid != parts->size() : word == "oneOf" ? valid != 1 : valid == 0) {
        return false;
      }
    }
    return true;
  }

  bool fixed() {
    if (const OrderedJson* const type = find("type")) {
      const auto is_one = [&](const OrderedJson& one) {
        return is_of_type(value_, one.get<std::string>());
      };
      if (type->is_string() ? !is_one(*type) : std::ranges::none_of(*type, is_one)) return false;
    }
    const OrderedJson* const only = find("const");
    if (only != nullptr && !same_value(*only, value_)) return false;
    const OrderedJson* const values = find("enum");
    const auto is_value = [&](const OrderedJson& one) { return same_value(one, value_); };
    return values == nullptr || std::ranges::any_of(*values, is_value);
  }

  bool number() {
    const auto bound = [&](std::string_view word, auto wrong) {
      const OrderedJson* const limit = find(word);
      return limit == nullptr || !limit->is_number() || !wrong(value_, *limit);
    };
    const auto strict = [&](std::string_view word) {
      return find(word) != nullptr && *find(word) == true;  // as draft 4 says it
    };
    const auto below = [](const OrderedJson& a, const OrderedJson& b) { return a < b; };
    const auto above = [](const OrderedJson& a, const OrderedJson& b) { return b < a; };
    const auto not_above = [](const OrderedJson& a, const OrderedJson& b) { return !(b < a); };
    const auto not_below = [](const OrderedJson& a, const OrderedJson& b) { return !(a < b); };
    if (!bound("minimum", below) || !bound("maximum", above)) return false;
    if (strict("exclusiveMinimum") && !bound("minimum", not_above)) return false;
    if (strict("exclusiveMaximum") && !bound("maximum", not_below)) return false;
    if (!bound("exclusiveMinimum", not_above) || !bound("exclusiveMaximum", not_below))
      return false;
    const OrderedJson* const multiple = find("multipleOf");
    return multiple == nullptr || std::fmod(value_.get<double>(), multiple->get<double>()) == 0;
  }

  bool string() {
    const auto text = value_.get<std::string>();
    const auto points = code_points(text);
    if (!points) return false;
    const auto least = source_.count(schema_, "minLength");
    const auto most = source_.count(schema_, "maxLength");
    if ((least && points->size() < *least) || (most && points->size() > *most)) return false;
    const auto matches = [&](std::string_view word, const std::string& pattern) {
      const auto rule =
          TextRule::make(source_.pattern(schema_, word, pattern), 0, TextRule::kNoLimit);
      return rule && rule->accepts(text);
    };
    const OrderedJson* const pattern = find("pattern");
    if (pattern != nullptr && !matches("pattern", pattern->get<std::string>())) return false;
    const OrderedJson* const format = find("format");
    if (format == nullptr || alone_) return true;
    const auto of_format = pattern_of_format(format->get<std::string>());
    return !of_format || matches("format", *of_format);
  }

  bool array() {
    const auto least = source_.count(schema_, "minItems");
    const auto most = source_.count(schema_, "maxItems");
    if ((least && value_.size() < *least) || (most && value_.size() > *most)) return false;
    if (find("uniqueItems") != nullptr && *find("uniqueItems") == true) {
      for (size_t i = 0; i < value_.size(); ++i) {
        for (size_t j = 0; j < i; ++j) {
          if (same_value(value_[i], value_[j])) return false;
        }
      }
    }
    const bool old = find("items") != nullptr && find("items")->is_array();
    const std::string_view first = old ? "items" : "prefixItems";
    const std::string_view rest = old ? "additionalItems" : "items";
    const size_t fixed = find(first) == nullptr ? 0 : find(first)->size();
    for (size_t i = 0; i < value_.size(); ++i) {
      if (i >= fixed && find(rest) == nullptr) break;
      const OrderedJson& item =
          i < fixed ? source_.part(schema_, first, i) : source_.part(schema_, rest);
      if (!is_valid(item, value_[i])) return false;
    }
    return true;
  }

  bool object() {
    const auto least = source_.count(schema_, "minProperties");
    const auto most = source_.count(schema_, "maxProperties");
    if ((least && value_.size() < *least) || (most && value_.size() > *most)) return false;
    if (const OrderedJson* const required = find("required")) {
      for (const OrderedJson& name : *required) {
        if (!value_.contains(name.get<std::string>())) return false;
      }
    }
    const OrderedJson* const properties = find("properties");
    const OrderedJson* const patterns = find("patternProperties");
    for (const auto& [key, value] : value_.items()) {
      if (find("propertyNames") != nullptr &&
          !is_valid(source_.part(schema_, "propertyNames"), OrderedJson(key))) {
        return false;
      }
      bool named = properties != nullptr && properties->contains(key);
      if (named && !is_valid(source_.part(schema_, "properties", key), value)) return false;
      if (patterns != nullptr) {
        for (const auto& [pattern, unused] : patterns->items()) {
          const auto rule = TextRule::make(source_.pattern(schema_, "patternProperties", pattern),
                                           0, TextRule::kNoLimit);
          if (!rule || !rule->accepts(key)) continue;
          named = true;
          if (!is_valid(source_.part(schema_, "patternProperties", pattern), value)) return false;
        }
      }
      if (!named && find("additionalProperties") != nullptr &&
          !is_valid(source_.part(schema_, "additionalProperties"), value)) {
        return false;
      }
    }
    return true;
  }

  SchemaSource& source_;
  const OrderedJson& schema_;
  const OrderedJson& value_;
  int depth_;
  bool alone_ = false;
};

}  // namespace

bool is_of_type(const OrderedJson& value, std::string_view type) {
  if (type == "null") return value.is_null();
  if (type == "boolean") return value.is_boolean();
  if (type == "string") return value.is_string();
  if (type == "array") return value.is_array();
  if (type == "object") return value.is_object();
  if (type == "integer") return is_whole(value);
  return type == "number" && value.is_number();
}

bool same_value(const OrderedJson& a, const OrderedJson& b) {
  if (a.is_object() && b.is_object()) {
    if (a.size() != b.size()) return false;
    return std::ranges::all_of(a.items(), [&b](const auto& member) {
      const auto found = b.find(member.key());
      return found != b.end() && same_value(member.value(), *found);
    });
  }
  if (a.is_array() && b.is_array()) {
    return std::ranges::equal(
        a, b, [](const OrderedJson& x, const OrderedJson& y) { return same_value(x, y); });
  }
  return a == b;
}

bool holds(SchemaSource& source, const OrderedJson& schema, const OrderedJson& value, int depth) {
  if (depth > kDeepestCheck) source.fail(schema, "refers to itself without end");
  if (schema.is_boolean()) return schema.get<bool>();
  return Check(source, schema, value, depth).passes();
}

bool holds_alone(SchemaSource& source, const OrderedJson& schema, const OrderedJson& value) {
  if (schema.is_boolean()) return schema.get<bool>();
  return Check(source, schema, value, 0).passes_alone();
}

}  // namespace dak
