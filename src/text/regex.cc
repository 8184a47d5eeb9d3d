#include "text/regex.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include <array>

#include "base/error.h"

namespace dak {
namespace {

// Backtracking steps per match. Real pre-tokenizer patterns need a handful; a pattern that needs
// more is refused at run time instead of hanging.
constexpr uint32_t kMatchLimit = 20'000'000;
constexpr uint32_t kHeapLimitKib = 256 * 1024;
constexpr size_t kJitStackStart = 32 * 1024;
constexpr size_t kJitStackMax = size_t{32} << 20;  // address space only, until used
constexpr size_t kMaxPatternBytes = 64 * 1024;

std::string pcre2_message(int code) {
  std::array<unsigned char, 256> buffer{};
  pcre2_get_error_message(code, buffer.data(), buffer.size());
  return reinterpret_cast<const char*>(buffer.data());
}

struct CodeDeleter {
  void operator()(pcre2_code* p) const { pcre2_code_free(p); }
};
struct MatchDataDeleter {
  void operator()(pcre2_match_data* p) const { pcre2_match_data_free(p); }
};
struct MatchContextDeleter {
  void operator()(pcre2_match_context* p) const { pcre2_match_context_free(p); }
};
struct CompileContextDeleter {
  void operator()(pcre2_compile_context* p) const { pcre2_compile_context_free(p); }
};
struct JitStackDeleter {
  void operator()(pcre2_jit_stack* p) const { pcre2_jit_stack_free(p); }
};

}  // namespace

struct RegexScratch::State {
  std::unique_ptr<pcre2_match_data, MatchDataDeleter> match_data{
      pcre2_match_data_create(1, nullptr)};
  std::unique_ptr<pcre2_jit_stack, JitStackDeleter> jit_stack{
      pcre2_jit_stack_create(kJitStackStart, kJitStackMax, nullptr)};
  std::unique_ptr<pcre2_match_context, MatchContextDeleter> context{
      pcre2_match_context_create(nullptr)};
};

RegexScratch::RegexScratch() : state_(std::make_unique<State>()) {
  require(state_->match_data && state_->context, "PCRE2 gave no match data");
  pcre2_set_match_limit(state_->context.get(), kMatchLimit);
  pcre2_set_heap_limit(state_->context.get(), kHeapLimitKib);
  if (state_->jit_stack) {
    pcre2_jit_stack_assign(state_->context.get(), nullptr, state_->jit_stack.get());
  }
}

RegexScratch::~RegexScratch() = default;

struct Regex::Code {
  std::unique_ptr<pcre2_code, CodeDeleter> code;
  std::string pattern;
  std::string where;
  std::string field;
};

Regex::Regex(std::unique_ptr<Code> code) : code_(std::move(code)) {}
Regex::~Regex() = default;
Regex::Regex(Regex&&) noexcept = default;
Regex& Regex::operator=(Regex&&) noexcept = default;

Regex::Regex(std::string_view pattern, std::string_view where, std::string_view field)
    : code_(std::make_unique<Code>()) {
  if (pattern.size() > kMaxPatternBytes) {
    throw_unsupported(where, field, pattern,
                      fmt::format("regular expression longer than {} bytes", kMaxPatternBytes));
  }
  code_->pattern = pattern;
  code_->where = where;
  code_->field = field;
  const std::string translated = translate_oniguruma(pattern, where, field);
  const std::unique_ptr<pcre2_compile_context, CompileContextDeleter> context(
      pcre2_compile_context_create(nullptr));
  require(context != nullptr, "PCRE2 gave no compile context");
  pcre2_set_newline(context.get(), PCRE2_NEWLINE_LF);
  pcre2_set_parens_nest_limit(context.get(), 100);
  int error = 0;
  size_t offset = 0;
  // Oniguruma's ^ and $ are those of every line.
  code_->code.reset(pcre2_compile(reinterpret_cast<PCRE2_SPTR>(translated.data()),
                                  translated.size(), PCRE2_UTF | PCRE2_UCP | PCRE2_MULTILINE,
                                  &error, &offset, context.get()));
  if (!code_->code) {
    throw_corrupt(where, field, pattern,
                  fmt::format("is not a regular expression: {} at byte {} of '{}'",
                              pcre2_message(error), offset, printable(translated)));
  }
  // Where the system forbids JIT (no writable and executable memory) PCRE2 interprets instead.
  pcre2_jit_compile(code_->code.get(), PCRE2_JIT_COMPLETE);
}

Regex Regex::literal(std::string_view text, std::string_view where, std::string_view field) {
  std::string pattern;
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    const bool plain =
        byte >= 0x80 || (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
    pattern += plain ? std::string(1, c) : fmt::format("\\x{{{:x}}}", byte);
  }
  return Regex(pattern, where, field);
}

std::optional<RegexMatch> Regex::find(RegexScratch& scratch, std::string_view subject,
                                      size_t from) const {
  RegexScratch::State& state = *scratch.state_;
  const int count =
      pcre2_match(code_->code.get(), reinterpret_cast<PCRE2_SPTR>(subject.data()), subject.size(),
                  from, PCRE2_NO_UTF_CHECK, state.match_data.get(), state.context.get());
  if (count == PCRE2_ERROR_NOMATCH) return std::nullopt;
  if (count < 0) {
    throw Error(ErrorCode::kResourceExhausted,
                {.where = code_->where,
                 .field = code_->field,
                 .value = code_->pattern,
                 .problem = "regular expression failed on this text: " + pcre2_message(count),
                 .fix = "shorten the text"});
  }
  const size_t* ends = pcre2_get_ovector_pointer(state.match_data.get());
  return RegexMatch{ends[0], ends[1]};
}

}  // namespace dak
