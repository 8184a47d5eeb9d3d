// The web page at /: page.html, compiled in.
#pragma once

#include <string_view>

namespace dak {

std::string_view page_html();

}  // namespace dak
