#!/usr/bin/env python3
"""Writes src/text/jinja/unicode_data.cc: the character properties that Python's str methods use.

Run: python3 reference/jinja_unicode_data.py > src/text/jinja/unicode_data.cc
Needs nothing but CPython 3.11 (Unicode 14.0), the version the golden files were made with.
"""

import sys
import unicodedata

POINTS = [c for c in range(0x110000) if not 0xD800 <= c <= 0xDFFF]


def ranges(predicate):
    out = []
    for c in range(0x110000):
        if predicate(chr(c)):
            if out and out[-1][1] == c - 1:
                out[-1][1] = c
            else:
                out.append([c, c])
    return out


def case_ranges(mapping):
    """Runs of characters that move by one delta, every `stride` characters."""
    pairs = [(c, ord(mapping(chr(c))) - c) for c in POINTS if len(mapping(chr(c))) == 1]
    pairs = [(c, d) for c, d in pairs if d]
    out = []
    for c, delta in pairs:
        if out:
            first, last, stride, run = out[-1]
            step = c - last
            if run == delta and step <= 2 and (first == last or step == stride):
                out[-1] = (first, c, step, run)
                continue
        out.append((c, c, 1, delta))
    return out


def emit(type_name, name, rows, per_line):
    print(f"const std::vector<{type_name}>& {name}() {{")
    print(f"  static const std::vector<{type_name}> kTable = {{")
    for i in range(0, len(rows), per_line):
        print("      " + " ".join(rows[i : i + per_line]))
    print("  };")
    print("  return kTable;")
    print("}")
    print()


def main():
    if unicodedata.unidata_version != "14.0.0":
        sys.exit(f"this needs Unicode 14.0.0, not {unicodedata.unidata_version}")
    print("// Written by reference/jinja_unicode_data.py from Unicode 14.0.0: do not edit by hand.")
    print('#include "text/jinja/unicode_data.h"')
    print()
    print("// clang-format off")
    print("namespace dak::jinja {")
    print()

    def pairs(rows):
        return [f"{{0x{a:x}, 0x{b:x}}}," for a, b in rows]

    def runs(rows):
        return [f"{{0x{a:x}, 0x{b:x}, {s}, {d}}}," for a, b, s, d in rows]

    emit("CodeRange", "unprintable_ranges", pairs(ranges(lambda c: not c.isprintable())), 6)
    emit("CodeRange", "alpha_ranges", pairs(ranges(str.isalpha)), 6)
    emit("CodeRange", "decimal_ranges", pairs(ranges(str.isdecimal)), 6)
    emit("CodeRange", "digit_ranges", pairs(ranges(str.isdigit)), 6)
    emit("CodeRange", "numeric_ranges", pairs(ranges(str.isnumeric)), 6)
    emit("CaseRange", "upper_ranges", runs(case_ranges(str.upper)), 5)
    emit("CaseRange", "lower_ranges", runs(case_ranges(str.lower)), 5)
    special = [c for c in POINTS if len(chr(c).upper()) > 1]
    rows = [
        "{0x%x, {%s}}," % (c, ", ".join(f"0x{ord(u):x}" for u in chr(c).upper())) for c in special
    ]
    emit("CaseExpansion", "upper_expansions", rows, 4)
    print("}  // namespace dak::jinja")
    print("// clang-format on")


main()
