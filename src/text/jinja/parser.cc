#include "text/jinja/parser.h"

#include <algorithm>
#include <string>

#include "text/jinja/check.h"
#include "text/jinja/expression_parser.h"
#include "text/jinja/token_stream.h"

namespace dak::jinja {
namespace {

using EndTags = std::vector<std::string_view>;

bool is_constant_name(std::string_view name) {
  return name == "true" || name == "True" || name == "false" || name == "False" || name == "none" ||
         name == "None";
}

class Parser {
 public:
  Parser(std::string_view source, std::string_view where)
      : tokens_(tokenize(source, where), where), expressions_(tokens_) {}

  Block parse() { return parse_block({}); }

 private:
  // Statements and text up to one of `ends`, whose name is then the current token.
  Block parse_block(const EndTags& ends) {
    const ExpressionParser::Nesting nesting(expressions_);
    Block block;
    while (!tokens_.at(TokenKind::kEnd)) {
      if (tokens_.at(TokenKind::kText)) {
        auto text = make(StmtKind::kText);
        text->text = std::make_shared<const Text>(tokens_.take().text, nullptr);
        block.push_back(std::move(text));
      } else if (tokens_.at(TokenKind::kPrintBegin)) {
        tokens_.take();
        auto print = make(StmtKind::kPrint);
        print->exprs.push_back(expressions_.parse_tuple());
        tokens_.expect(TokenKind::kPrintEnd, "'}}'");
        block.push_back(std::move(print));
      } else {
        tokens_.expect(TokenKind::kBlockBegin, "'{%'");
        if (!tokens_.at(TokenKind::kName)) tokens_.fail_expected("the name of a tag");
        if (std::find(ends.begin(), ends.end(), tokens_.current().text) != ends.end()) return block;
        block.push_back(parse_statement());
        tokens_.expect(TokenKind::kBlockEnd, "'%}'");
      }
    }
    if (!ends.empty()) tokens_.fail_expected(fmt::format("'{{% {} %}}'", ends.back()));
    return block;
  }

  // The rest of an opening tag, and the body. Leaves the end tag's name as the current token.
  Block parse_body(const EndTags& ends) {
    tokens_.skip_operator(":");
    tokens_.expect(TokenKind::kBlockEnd, "'%}'");
    ++open_tags_;
    Block body = parse_block(ends);
    --open_tags_;
    return body;
  }

  Block parse_body_to(std::string_view end) {
    Block body = parse_body({end});
    tokens_.take();
    return body;
  }

  std::unique_ptr<Stmt> make(StmtKind kind) const {
    auto stmt = std::make_unique<Stmt>();
    stmt->kind = kind;
    stmt->line = tokens_.line();
    return stmt;
  }

  std::unique_ptr<Stmt> parse_statement() {
    const std::string name = tokens_.current().text;
    if (name == "if") return parse_if();
    if (name == "for") return parse_for();
    if (name == "set") return parse_set();
    if (name == "macro") return parse_macro();
    if (name == "call") return parse_call_block();
    if (name == "filter") return parse_filter_block();
    if (name == "with") return parse_with();
    if (name == "print") return parse_print();
    if (name == "generation") return parse_generation();
    if (name == "block") return parse_named_block();
    if (name == "break" || name == "continue") return parse_loop_control();
    for (const std::string_view known :
         {"extends", "include", "import", "from", "autoescape", "trans", "do"}) {
      if (name == known) tokens_.unsupported(fmt::format("the tag '{}'", name));
    }
    tokens_.error(fmt::format("unknown tag '{}'", printable(name)));
  }

  std::unique_ptr<Stmt> parse_if() {
    auto stmt = make(StmtKind::kIf);
    tokens_.expect_keyword("if");
    while (true) {
      stmt->exprs.push_back(expressions_.parse_tuple(false));
      stmt->blocks.push_back(parse_body({"elif", "else", "endif"}));
      const std::string end = tokens_.take().text;
      if (end == "endif") return stmt;
      if (end == "else") break;
    }
    stmt->blocks.push_back(parse_body_to("endif"));
    return stmt;
  }

  std::unique_ptr<Stmt> parse_for() {
    auto stmt = make(StmtKind::kFor);
    tokens_.expect_keyword("for");
    stmt->target = parse_target(false);
    if (assigns_name(stmt->target, "loop")) tokens_.error("cannot assign to 'loop'");
    tokens_.expect_keyword("in");
    stmt->exprs.push_back(expressions_.parse_tuple(false));
    const bool filtered = tokens_.skip_name("if");
    stmt->exprs.push_back(filtered ? expressions_.parse_expression() : nullptr);
    stmt->recursive = tokens_.skip_name("recursive");
    ++loop_depth_;
    stmt->blocks.push_back(parse_body({"endfor", "else"}));
    --loop_depth_;
    if (tokens_.take().text == "else") stmt->blocks.push_back(parse_body_to("endfor"));
    return stmt;
  }

  std::unique_ptr<Stmt> parse_set() {
    auto stmt = make(StmtKind::kSet);
    tokens_.expect_keyword("set");
    stmt->target = parse_target(true);
    if (loop_depth_ > 0 && assigns_name(stmt->target, "loop")) {
      tokens_.error("cannot assign to 'loop'");
    }
    if (tokens_.skip_operator("=")) {
      stmt->exprs.push_back(expressions_.parse_tuple());
      return stmt;
    }
    stmt->kind = StmtKind::kSetBlock;
    stmt->exprs.push_back(expressions_.parse_block_filters(false));
    stmt->blocks.push_back(parse_body_to("endset"));
    return stmt;
  }

  // A name, a namespace's attribute, or several with commas (parentheses allowed).
  Target parse_target(bool with_attribute) {
    const ExpressionParser::Nesting nesting(expressions_);
    const int line = tokens_.line();
    std::vector<Target> items;
    bool is_tuple = false;
    while (items.empty() || tokens_.skip_operator(",")) {
      const bool ends = tokens_.at_name("in") || tokens_.at_operator("=") ||
                        tokens_.at(TokenKind::kBlockEnd) || tokens_.at_operator(")");
      if (!items.empty()) is_tuple = true;
      if (!items.empty() && ends) break;
      items.push_back(parse_single_target(with_attribute));
    }
    if (!is_tuple) return std::move(items.front());
    return {.kind = Target::Kind::kTuple,
            .line = line,
            .name = {},
            .attribute = {},
            .items = std::move(items)};
  }

  Target parse_single_target(bool with_attribute) {
    Target target;
    target.line = tokens_.line();
    if (tokens_.skip_operator("(")) {
      target = parse_target(with_attribute);
      tokens_.expect_operator(")");
      return target;
    }
    target.name = tokens_.expect_name();
    if (is_constant_name(target.name)) {
      tokens_.error(fmt::format("cannot assign to '{}'", target.name));
    }
    if (with_attribute && tokens_.skip_operator(".")) {
      target.kind = Target::Kind::kAttribute;
      target.attribute = tokens_.expect_name();
    }
    return target;
  }

  static bool assigns_name(const Target& target, std::string_view name) {
    return (target.kind == Target::Kind::kName && target.name == name) ||
           std::any_of(target.items.begin(), target.items.end(),
                       [name](const Target& item) { return assigns_name(item, name); });
  }

  void parse_signature(MacroDef& macro) {
    tokens_.expect_operator("(");
    while (!tokens_.at_operator(")")) {
      if (!macro.parameters.empty()) tokens_.expect_operator(",");
      Parameter parameter{.name = tokens_.expect_name(), .fallback = nullptr};
      if (is_constant_name(parameter.name)) tokens_.error("a parameter needs a name");
      for (const Parameter& other : macro.parameters) {
        if (other.name == parameter.name) tokens_.error("two parameters have one name");
      }
      if (tokens_.skip_operator("=")) {
        parameter.fallback = expressions_.parse_expression();
      } else if (!macro.parameters.empty() && macro.parameters.back().fallback != nullptr) {
        tokens_.error("a parameter without a default follows one with a default");
      }
      macro.parameters.push_back(std::move(parameter));
    }
    tokens_.expect_operator(")");
  }

  // A macro's body sees no loop of its surroundings to break out of.
  Block parse_macro_body(MacroDef& macro, std::string_view end) {
    const int outer_loops = loop_depth_;
    loop_depth_ = 0;
    expressions_.open_macros().push_back(&macro);
    Block body = parse_body_to(end);
    expressions_.open_macros().pop_back();
    loop_depth_ = outer_loops;
    for (const Parameter& parameter : macro.parameters) {
      if (parameter.name == "caller") {
        if (macro.uses_caller && parameter.fallback == nullptr) {
          tokens_.error("the parameter 'caller' must be left out or have a default");
        }
        macro.uses_caller = false;
      }
      if (parameter.name == "kwargs") macro.uses_kwargs = false;
      if (parameter.name == "varargs") macro.uses_varargs = false;
    }
    return body;
  }

  std::unique_ptr<Stmt> parse_macro() {
    auto stmt = make(StmtKind::kMacro);
    tokens_.expect_keyword("macro");
    stmt->macro = std::make_unique<MacroDef>();
    stmt->macro->name = tokens_.expect_name();
    if (is_constant_name(stmt->macro->name)) tokens_.error("a macro needs a name");
    parse_signature(*stmt->macro);
    stmt->macro->body = parse_macro_body(*stmt->macro, "endmacro");
    return stmt;
  }

  std::unique_ptr<Stmt> parse_call_block() {
    auto stmt = make(StmtKind::kCallBlock);
    tokens_.expect_keyword("call");
    stmt->macro = std::make_unique<MacroDef>();
    stmt->macro->name = "caller";
    if (tokens_.at_operator("(")) parse_signature(*stmt->macro);
    stmt->exprs.push_back(expressions_.parse_expression());
    if (stmt->exprs[0]->kind != ExprKind::kCall) tokens_.error("a call block needs a call");
    stmt->macro->body = parse_macro_body(*stmt->macro, "endcall");
    return stmt;
  }

  std::unique_ptr<Stmt> parse_filter_block() {
    auto stmt = make(StmtKind::kFilterBlock);
    tokens_.expect_keyword("filter");
    stmt->exprs.push_back(expressions_.parse_block_filters(true));
    stmt->blocks.push_back(parse_body_to("endfilter"));
    return stmt;
  }

  std::unique_ptr<Stmt> parse_with() {
    auto stmt = make(StmtKind::kWith);
    tokens_.expect_keyword("with");
    while (!tokens_.at(TokenKind::kBlockEnd)) {
      if (!stmt->targets.empty()) tokens_.expect_operator(",");
      stmt->targets.push_back(parse_single_target(false));
      tokens_.expect_operator("=");
      stmt->exprs.push_back(expressions_.parse_expression());
    }
    stmt->blocks.push_back(parse_body_to("endwith"));
    return stmt;
  }

  std::unique_ptr<Stmt> parse_print() {
    auto stmt = make(StmtKind::kPrint);
    tokens_.expect_keyword("print");
    while (!tokens_.at(TokenKind::kBlockEnd)) {
      if (!stmt->exprs.empty()) tokens_.expect_operator(",");
      stmt->exprs.push_back(expressions_.parse_expression());
    }
    return stmt;
  }

  // transformers marks the assistant's text with this; it prints its body, as a macro would.
  std::unique_ptr<Stmt> parse_generation() {
    auto stmt = make(StmtKind::kScope);
    tokens_.expect_keyword("generation");
    const int outer_loops = loop_depth_;
    loop_depth_ = 0;
    stmt->blocks.push_back(parse_body_to("endgeneration"));
    loop_depth_ = outer_loops;
    return stmt;
  }

  // A block that nothing can override, for there is no inheritance: its body, which sees what the
  // top level has. Inside of other tags it would see less than its surroundings.
  std::unique_ptr<Stmt> parse_named_block() {
    auto stmt = make(StmtKind::kScope);
    tokens_.expect_keyword("block");
    if (open_tags_ > 0) tokens_.unsupported("a block inside of another tag");
    if (!tokens_.at(TokenKind::kName)) tokens_.fail_expected("the name of a block");
    tokens_.take();
    tokens_.skip_name("scoped");
    tokens_.skip_name("required");
    stmt->blocks.push_back(parse_body_to("endblock"));
    if (tokens_.at(TokenKind::kName)) tokens_.take();  // the name again
    return stmt;
  }

  std::unique_ptr<Stmt> parse_loop_control() {
    auto stmt = make(tokens_.at_name("break") ? StmtKind::kBreak : StmtKind::kContinue);
    if (loop_depth_ == 0) {
      tokens_.error(fmt::format("'{}' outside of a loop", tokens_.current().text));
    }
    tokens_.take();
    return stmt;
  }

  TokenStream tokens_;
  ExpressionParser expressions_;
  int loop_depth_ = 0;
  int open_tags_ = 0;  // whose bodies are being parsed
};

}  // namespace

Block parse_template(std::string_view source, std::string_view where) {
  Block block = Parser(source, where).parse();
  check_names(block, where);
  return block;
}

}  // namespace dak::jinja
