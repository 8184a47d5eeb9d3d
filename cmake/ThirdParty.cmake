# cmake -DOUTPUT=FILE.cc -DTEXT=THIRD_PARTY.txt -DLIST=third_party.list -DSOURCE=DIR -DCUDA_ROOT=DIR -DWHEN="A;B"
# -DSTRICT=ON|OFF -P ThirdParty.cmake: the notices of what is linked into dak, as a text beside the binary and as C++
# strings for `dak --licenses`. WHEN: variables that are true. STRICT: a notice that is not on this machine is an
# error, else the text says so.
cmake_minimum_required(VERSION 3.25)

# The last paragraph "License: NAME" of a Debian copyright file: the one with the text.
function(licence_text text name file out)
  string(FIND "${text}" "\nLicense: ${name}\n" begin REVERSE)
  if(begin LESS 0)
    message(FATAL_ERROR "${file}: has no paragraph 'License: ${name}', which ${LIST} names")
  endif()
  string(SUBSTRING "${text}" ${begin} -1 text)
  string(FIND "${text}" "\n\n" end)
  string(SUBSTRING "${text}" 1 ${end} text)
  set(${out} "${text}" PARENT_SCOPE)
endfunction()

file(STRINGS ${LIST} lines)
set(text "dak contains works of others. Each is named here with its notice and licence.\n")
foreach(line IN LISTS lines)
  if(line MATCHES "^#" OR line STREQUAL "")
    continue()
  endif()
  if(NOT line MATCHES "^([^|]+) \\| [^|]+ \\| [^|]+ \\| ([^|]+) \\| ([^|]+)$")
    message(FATAL_ERROR "${LIST}: '${line}' has not five parts; see the file's head")
  endif()
  set(name ${CMAKE_MATCH_1})
  set(when ${CMAKE_MATCH_3})
  string(REPLACE "@CUDA@" "${CUDA_ROOT}" places "${CMAKE_MATCH_2}")
  if(NOT when STREQUAL "-" AND NOT when IN_LIST WHEN)
    continue()
  endif()
  set(found "")
  set(licence "")
  foreach(place IN LISTS places)
    string(REGEX REPLACE "#.*" "" pattern ${place})
    file(GLOB files ${pattern})
    if(files AND NOT found)
      list(GET files 0 found)
      if(place MATCHES "#(.+)$")
        set(licence ${CMAKE_MATCH_1})
      endif()
    endif()
  endforeach()
  if(found)
    file(READ ${found} notice)
    if(licence)
      licence_text("${notice}" ${licence} ${found} notice)
    endif()
  elseif(STRICT)
    message(FATAL_ERROR "the notice of ${name} is in none of ${places}: this binary could not be given to others; "
                        "install the package it is in, or name another place in ${LIST}")
  else()
    set(notice "The machine that built this binary had no notice in ${places}: see the project itself.\n")
  endif()
  string(APPEND text "\n======== ${name} ========\n\n${notice}")
endforeach()
file(WRITE ${TEXT} "${text}")

foreach(own NOTICE LICENSE)
  file(READ ${SOURCE}/${own} ${own})
endforeach()
set(source "// Made by cmake/ThirdParty.cmake.
#include \"cli/licences.h\"

namespace dak {

std::string_view own_licence() {
  return R\"notice(${NOTICE}
${LICENSE})notice\";
}

std::string_view third_party_notices() {
  return R\"notice(${text})notice\";
}

}  // namespace dak
")
file(WRITE ${OUTPUT} "${source}")
