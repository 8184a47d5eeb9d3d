# Writes HEADER with the commit of SOURCE; leaves it alone when nothing has changed.
execute_process(COMMAND git -C ${SOURCE} describe --always --dirty
                OUTPUT_VARIABLE commit OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET)
if(NOT commit)
  set(commit "no git")
endif()
set(text "// Made at every build.
#pragma once

namespace dak::build {

inline constexpr const char* kCommit = \"${commit}\";

}  // namespace dak::build
")
set(old "")
if(EXISTS ${HEADER})
  file(READ ${HEADER} old)
endif()
if(NOT text STREQUAL old)
  file(WRITE ${HEADER} "${text}")
endif()
