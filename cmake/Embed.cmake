# cmake -DINPUT=FILE -DOUTPUT=FILE.cc -DHEADER=FOLDER/FILE.h -DFUNCTION=NAME -P Embed.cmake: a text as C++, what
# HEADER's `std::string_view NAME()` gives.
file(READ ${INPUT} text)
get_filename_component(name ${INPUT} NAME)
file(WRITE ${OUTPUT} "// Made by cmake/Embed.cmake from ${name}.
#include \"${HEADER}\"

namespace dak {

std::string_view ${FUNCTION}() {
  return R\"embedded(${text})embedded\";
}

}  // namespace dak
")
