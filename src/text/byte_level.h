// GPT-2's alphabet: each byte is written as one printable character, so that a vocabulary of text
// can hold any bytes (Radford et al. 2019, section 2.2). 0x20 is 'Ġ', 0x0a is 'Ċ', 'a' is 'a'.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace dak {

char32_t byte_level_char(uint8_t byte);

// nullopt: `code` stands for no byte.
std::optional<uint8_t> byte_level_byte(char32_t code);

// Each byte of `bytes` as its character, in UTF-8; appends.
void append_byte_level(std::string& out, std::string_view bytes);

}  // namespace dak
