// The syntax tree of a template. One struct per expression and per statement: the kind says which
// fields are used.
#pragma once

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "text/jinja/value.h"

namespace dak::jinja {

struct Expr;
using ExprPtr = std::unique_ptr<Expr>;

struct CallArgs {
  std::vector<ExprPtr> positional;
  std::vector<std::pair<std::string, ExprPtr>> keyword;
  ExprPtr star;         // *args, may be null
  ExprPtr double_star;  // **kwargs, may be null
};

enum class BinaryOp { kAdd, kSub, kMul, kDiv, kFloorDiv, kMod, kPow };
enum class CompareOp { kEq, kNe, kLt, kLe, kGt, kGe, kIn, kNotIn };

enum class ExprKind {
  kConst,       // value
  kName,        // name
  kList,        // items
  kTuple,       // items
  kDict,        // items: key, value, key, value, ...
  kAttribute,   // items[0].name
  kItem,        // items[0][items[1]]
  kSlice,       // items[0][items[1]:items[2]:items[3]], each of the last three may be null
  kCall,        // items[0](call)
  kFilter,      // items[0] | name(call); items[0] is null for the body of a filter block
  kTest,        // items[0] is name(call)
  kNot,         // items[0]
  kNegate,      // items[0]
  kPlus,        // items[0]
  kBinary,      // items[0] op items[1]
  kConcat,      // items joined by ~
  kCompare,     // items[0] compare_ops[0] items[1] compare_ops[1] items[2] ...
  kAnd,         // items[0], items[1]
  kOr,          // items[0], items[1]
  kConditional  // items[1] if items[0] else items[2] (may be null)
};

struct Expr {
  ExprKind kind = ExprKind::kConst;
  int line = 1;
  int depth = 1;  // of the tree below, bounded by the parser: everything here recurses
  Value value;
  std::string name;
  BinaryOp op = BinaryOp::kAdd;
  std::vector<ExprPtr> items;
  std::vector<CompareOp> compare_ops;
  CallArgs call;
};

// What a value is assigned to.
struct Target {
  enum class Kind { kName, kAttribute, kTuple } kind = Kind::kName;
  int line = 1;
  std::string name;
  std::string attribute;  // of the namespace `name`
  std::vector<Target> items;
};

struct Stmt;
using Block = std::vector<std::unique_ptr<Stmt>>;

struct Parameter {
  std::string name;
  ExprPtr fallback;  // may be null
};

struct MacroDef {
  std::string name;
  std::vector<Parameter> parameters;
  Block body;
  // A macro accepts these only if its body names them.
  bool uses_caller = false;
  bool uses_kwargs = false;
  bool uses_varargs = false;
};

enum class StmtKind {
  kText,         // text
  kPrint,        // exprs, one after the other
  kIf,           // exprs[i] guards blocks[i]; a last block without a guard is the else
  kFor,          // for target in exprs[0] if exprs[1] (may be null): blocks[0], else blocks[1]
  kSet,          // target = exprs[0]
  kSetBlock,     // target = blocks[0] through the filters exprs[0] (may be null)
  kMacro,        // macro
  kCallBlock,    // exprs[0] is the call, macro the caller
  kFilterBlock,  // blocks[0] through exprs[0]
  kWith,         // targets[i] = exprs[i] for blocks[0]
  kScope,        // blocks[0] in a scope of its own
  kBreak,
  kContinue,
};

struct Stmt {
  StmtKind kind = StmtKind::kText;
  int line = 1;
  Value text;
  Target target;
  bool recursive = false;  // kFor: `loop` can be called with items of its own
  std::vector<Target> targets;
  std::vector<ExprPtr> exprs;
  std::vector<Block> blocks;
  std::unique_ptr<MacroDef> macro;
};

}  // namespace dak::jinja
