// Python's operators, on values.
#pragma once

#include <cstdint>
#include <optional>

#include "text/jinja/ast.h"
#include "text/jinja/interpreter.h"

namespace dak::jinja {

Value binary(Interpreter& in, BinaryOp op, const Value& a, const Value& b);
Value negate(const Value& value);
Value plus(const Value& value);
bool compare_values(Interpreter& in, CompareOp op, const Value& a, const Value& b);
bool contains(Interpreter& in, const Value& container, const Value& what);
// object[start:stop:step] of a string, list or tuple; bounds left out follow Python.
Value slice(Interpreter& in, const Value& object, std::optional<int64_t> start,
            std::optional<int64_t> stop, int64_t step);
// len(value); throws for what has none.
int64_t length(const Value& value);
// Sets a key of a dict under construction.
void put_entry(Interpreter& in, std::vector<Dict::Entry>& entries, const Value& key, Value value);

}  // namespace dak::jinja
