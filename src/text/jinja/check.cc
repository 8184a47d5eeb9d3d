#include "text/jinja/check.h"

#include "text/jinja/filters.h"
#include "text/jinja/lexer.h"

namespace dak::jinja {
namespace {

class Checker {
 public:
  explicit Checker(std::string_view where) : where_(where) {}

  void check(const Block& block, bool guarded) {
    for (const auto& stmt : block) check(*stmt, guarded);
  }

 private:
  void check(const Stmt& stmt, bool guarded) {
    const bool is_if = stmt.kind == StmtKind::kIf;
    const bool same_scope = is_if || stmt.kind == StmtKind::kSet || stmt.kind == StmtKind::kPrint;
    for (const ExprPtr& expr : stmt.exprs) check(expr, guarded || is_if);
    for (const Block& block : stmt.blocks) check(block, is_if || (guarded && same_scope));
    if (stmt.macro != nullptr) {
      for (const Parameter& parameter : stmt.macro->parameters) check(parameter.fallback, false);
      check(stmt.macro->body, false);
    }
  }

  void check(const ExprPtr& expr, bool guarded) {
    if (expr == nullptr) return;
    if (expr->kind == ExprKind::kConditional) guarded = true;
    if (!guarded && expr->kind == ExprKind::kFilter && find_filter(expr->name) == nullptr) {
      unknown("filter", *expr);
    }
    if (!guarded && expr->kind == ExprKind::kTest && find_test(expr->name) == nullptr) {
      unknown("test", *expr);
    }
    for (const ExprPtr& item : expr->items) check(item, guarded);
    for (const ExprPtr& item : expr->call.positional) check(item, guarded);
    for (const auto& [name, item] : expr->call.keyword) check(item, guarded);
    check(expr->call.star, guarded);
    check(expr->call.double_star, guarded);
  }

  [[noreturn]] void unknown(std::string_view what, const Expr& expr) const {
    const std::string_view why = what == "filter" ? why_no_filter(expr.name) : std::string_view();
    throw_template_error(ErrorCode::kUnsupported, where_, expr.line,
                         fmt::format("the {} '{}'{}", what, printable(expr.name),
                                     why.empty() ? "" : fmt::format(", which {},", why)));
  }

  std::string_view where_;
};

}  // namespace

void check_names(const Block& block, std::string_view where) { Checker(where).check(block, false); }

}  // namespace dak::jinja
