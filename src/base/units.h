// Sizes and rates as people write them: "1.5 GiB", "51.1 GB/s".
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace dak {

std::string format_bytes(int64_t bytes);           // binary: "98 MiB", "1.50 GiB"
std::string format_rate(double bytes_per_second);  // decimal: "51.1 GB/s"

// "24GiB", "512m", "1.5g", "100000": binary multiples (k, m, g, t, with or without "i", "b").
// Throws kInvalidArgument naming `where` on anything else, negative or past 2^62.
int64_t parse_bytes(std::string_view text, std::string_view where);

}  // namespace dak
