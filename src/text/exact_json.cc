#include "text/exact_json.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <string>
#include <utility>
#include <vector>

#include "base/error.h"

namespace dak {
namespace {

// Significant digits and the power of ten of the last one; JSON's spelling of a number.
struct Decimal {
  std::string digits;
  int64_t exponent = 0;
  bool operator==(const Decimal&) const = default;
};

Decimal decimal_of(std::string_view text) {
  Decimal out;
  const size_t e = std::min(text.find_first_of("eE"), text.size());
  bool fraction = false;
  for (const char c : text.substr(0, e)) {
    if (c == '.') fraction = true;
    if (c < '0' || c > '9') continue;
    out.digits += c;
    if (fraction) --out.exponent;
  }
  // Exponents beyond these are no double's.
  if (e < text.size()) {
    const std::string power(text.substr(e + 1));
    out.exponent +=
        std::clamp<int64_t>(std::strtoll(power.c_str(), nullptr, 10), -1'000'000, 1'000'000);
  }
  out.digits.erase(0, std::min(out.digits.find_first_not_of('0'), out.digits.size()));
  while (out.digits.ends_with('0')) {
    out.digits.pop_back();
    ++out.exponent;
  }
  if (out.digits.empty()) out.exponent = 0;
  return out;
}

bool keeps_digits(double value, std::string_view text) {
  return std::isfinite(value) && decimal_of(fmt::format("{}", value)) == decimal_of(text);
}

OrderedJson digits(std::string_view text) {
  return OrderedJson::binary(std::vector<uint8_t>(text.begin(), text.end()));
}

class Builder final : public nlohmann::json_sax<OrderedJson> {
 public:
  explicit Builder(int64_t most_members) : most_members_(most_members) {}

  bool null() override { return add(nullptr); }
  bool boolean(bool value) override { return add(value); }
  bool number_integer(int64_t value) override { return add(value); }
  bool number_unsigned(uint64_t value) override { return add(value); }
  bool number_float(double value, const std::string& text) override {
    const bool whole = text.find_first_of(".eE") == std::string::npos;
    return add(!whole && keeps_digits(value, text) ? OrderedJson(value) : digits(text));
  }
  bool string(std::string& value) override { return add(std::move(value)); }
  bool binary(OrderedJson::binary_t&) override { return false; }
  bool start_object(size_t) override { return open(OrderedJson::object()); }
  bool key(std::string& value) override {
    if (std::ssize(*open_.back()) >= most_members_) {
      throw_corrupt("", "", {},
                    fmt::format("has an object of more than {} members", most_members_));
    }
    key_ = std::move(value);
    return true;
  }
  bool end_object() override { return close(); }
  bool start_array(size_t) override { return open(OrderedJson::array()); }
  bool end_array() override { return close(); }
  bool parse_error(size_t at, const std::string&, const nlohmann::detail::exception&) override {
    throw_corrupt("", "", {}, fmt::format("is no JSON from byte {} on", at));
  }

  OrderedJson take() { return std::move(root_); }

 private:
  OrderedJson* place(OrderedJson value) {
    if (open_.empty()) {
      root_ = std::move(value);
      return &root_;
    }
    OrderedJson& parent = *open_.back();
    if (parent.is_array()) {
      parent.push_back(std::move(value));
      return &parent.back();
    }
    OrderedJson& member = parent[key_];
    member = std::move(value);
    return &member;
  }
  bool add(OrderedJson value) {
    place(std::move(value));
    return true;
  }
  // What is open lies in its parent's last member, which moves no more while it is open.
  bool open(OrderedJson value) {
    open_.push_back(place(std::move(value)));
    return true;
  }
  bool close() {
    open_.pop_back();
    return true;
  }

  int64_t most_members_;
  OrderedJson root_;
  std::vector<OrderedJson*> open_;
  std::string key_;
};

}  // namespace

OrderedJson parse_exact_json(std::string_view text, int64_t most_members) {
  Builder builder(most_members);
  OrderedJson::sax_parse(text, &builder);
  return builder.take();
}

std::string exact_json_text(const OrderedJson& json) {
  if (json.is_binary()) {
    const auto& bytes = json.get_binary();
    return {bytes.begin(), bytes.end()};
  }
  if (!json.is_structured())
    return json.dump(-1, ' ', false, OrderedJson::error_handler_t::replace);
  std::string out(1, json.is_array() ? '[' : '{');
  for (const auto& [key, value] : json.items()) {
    if (out.size() > 1) out += ", ";
    if (json.is_object()) out += OrderedJson(key).dump() + ": ";
    out += exact_json_text(value);
  }
  return out + (json.is_array() ? ']' : '}');
}

OrderedJson without_digits(const OrderedJson& json) {
  if (json.is_binary()) {
    const auto& bytes = json.get_binary();
    return OrderedJson::parse(std::string(bytes.begin(), bytes.end()), nullptr, false);
  }
  if (!json.is_structured()) return json;
  OrderedJson out = json.is_array() ? OrderedJson::array() : OrderedJson::object();
  if (json.is_array()) {
    for (const OrderedJson& item : json) out.push_back(without_digits(item));
    return out;
  }
  for (const auto& [key, value] : json.items()) out[key] = without_digits(value);
  return out;
}

}  // namespace dak
