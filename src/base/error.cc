#include "base/error.h"

namespace dak {
namespace {

std::string one_line(const ErrorInfo& info) {
  std::string line;
  const auto add = [&line](std::string_view separator, std::string_view part) {
    if (part.empty()) return;
    if (!line.empty()) line += separator;
    line += part;
  };
  add("", printable(info.where, 400));
  add(": ", info.field);
  if (!info.value.empty()) {
    add(info.field.empty() ? ": " : " ", fmt::format("'{}'", printable(info.value)));
  }
  add(": ", info.problem);
  add("; ", info.fix);
  return line;
}

}  // namespace

Error::Error(ErrorCode code, ErrorInfo info)
    : std::runtime_error(one_line(info)), code_(code), info_(std::move(info)) {}

std::string printable(std::string_view text, size_t max_chars) {
  std::string out;
  for (const char c : text) {
    if (out.size() >= max_chars) return out + "...";
    const auto byte = static_cast<unsigned char>(c);
    if (byte < 0x20 || byte >= 0x7f) {
      out += fmt::format("\\x{:02x}", byte);
    } else {
      out += c;
    }
  }
  return out;
}

void throw_corrupt(std::string_view file, std::string_view field, std::string_view value,
                   std::string_view problem, std::string_view fix) {
  throw Error(ErrorCode::kCorrupt, {std::string(file), std::string(field), std::string(value),
                                    std::string(problem), std::string(fix)});
}

void throw_unsupported(std::string_view where, std::string_view field, std::string_view value,
                       std::string_view problem, std::string_view fix) {
  throw Error(ErrorCode::kUnsupported, {std::string(where), std::string(field), std::string(value),
                                        std::string(problem), std::string(fix)});
}

void throw_invalid(std::string_view where, std::string_view field, std::string_view value,
                   std::string_view problem, std::string_view fix) {
  throw Error(ErrorCode::kInvalidArgument,
              {std::string(where), std::string(field), std::string(value), std::string(problem),
               std::string(fix)});
}

}  // namespace dak
