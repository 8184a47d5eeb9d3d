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

// Bytes of the valid, visible UTF-8 character that `text` begins with; 0: none.
size_t printable_length(std::string_view text) {
  const auto byte = [text](size_t i) {
    return i < text.size() ? static_cast<unsigned char>(text[i]) : 0u;
  };
  const unsigned first = byte(0);
  if (first < 0x80) return first >= 0x20 && first != 0x7f ? 1 : 0;
  const size_t length = first >= 0xf0 ? 4 : first >= 0xe0 ? 3 : 2;
  unsigned code = first & (0xffu >> (length + 1));
  for (size_t i = 1; i < length; ++i) {
    if ((byte(i) & 0xc0u) != 0x80) return 0;
    code = code << 6 | (byte(i) & 0x3fu);
  }
  constexpr unsigned kLeast[] = {0, 0, 0xa0, 0x800, 0x10000};  // below: overlong, or C1 controls
  const bool surrogate = code >= 0xd800 && code < 0xe000;
  // Line separators and marks that change the direction of what follows.
  const bool format = (code >= 0x200b && code <= 0x200f) || (code >= 0x2028 && code <= 0x202e) ||
                      (code >= 0x2060 && code <= 0x206f) || code == 0xfeff;
  if (first < 0xc2 || code < kLeast[length] || code > 0x10ffff || surrogate || format) return 0;
  return length;
}

}  // namespace

Error::Error(ErrorCode code, ErrorInfo info)
    : std::runtime_error(one_line(info)), code_(code), info_(std::move(info)) {}

std::string printable(std::string_view text, size_t max_chars) {
  std::string out;
  for (size_t i = 0; i < text.size();) {
    if (out.size() >= max_chars) return out + "...";
    const size_t length = printable_length(text.substr(i));
    if (length == 0) {
      out += fmt::format("\\x{:02x}", static_cast<unsigned char>(text[i++]));
    } else {
      out += text.substr(i, length);
      i += length;
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

void throw_internal(std::string_view what) {
  throw Error(ErrorCode::kInternal, {.where = {},
                                     .field = {},
                                     .value = {},
                                     .problem = "internal error: " + std::string(what),
                                     .fix = "please report it"});
}

}  // namespace dak
