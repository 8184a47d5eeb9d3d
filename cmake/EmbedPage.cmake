# cmake -DOUTPUT=FILE.cc -DPAGE=page.html -P EmbedPage.cmake: the page as a C++ string.
file(READ ${PAGE} text)
file(WRITE ${OUTPUT} "// Made by cmake/EmbedPage.cmake from src/server/page.html.
#include \"server/page.h\"

namespace dak {

std::string_view page_html() {
  return R\"page(${text})page\";
}

}  // namespace dak
")
