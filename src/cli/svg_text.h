// What the SVGs of `dak` share.
#pragma once

#include <string>

namespace dak {

std::string svg_escaped(const std::string& text);
// `anchor`: start, middle or end.
std::string svg_text(double x, double y, const char* anchor, const std::string& words);
// With a white ground, in a sans-serif of 12.
std::string svg_document(double width, double height, const std::string& body);

}  // namespace dak
