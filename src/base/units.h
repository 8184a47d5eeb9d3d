// Sizes and rates as people write them: "1.5 GiB", "51.1 GB/s".
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace dak {

std::string format_bytes(int64_t bytes);           // binary: "98 MiB", "1.50 GiB"
std::string format_rate(double bytes_per_second);  // decimal: "51.1 GB/s"

// "24GiB", "512m": binary (KiB to PiB, or k to p alone); "24GB": decimal (kB to PB); "4096B"; "0".
// Case does not count. Throws kInvalidArgument naming `where` on anything else: no unit, past 2^62.
int64_t parse_bytes(std::string_view text, std::string_view where);

}  // namespace dak
