// A benchmark on paper: Markdown and CSV, row by row as they are measured.
#pragma once

#include <string>

#include "cli/bench.h"

namespace dak {

// `document` is the JSON that --output writes: format, machine, model, command, settings, rows.
std::string markdown_header(const OrderedRow& document);
std::string markdown_row(const OrderedRow& document, const OrderedRow& row);

// The fields of a row, after those that say where it comes from: date, commit, GPU or CPU, model.
std::string csv_header(const OrderedRow& row);
std::string csv_row(const OrderedRow& document, const OrderedRow& row);

}  // namespace dak
