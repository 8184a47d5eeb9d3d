# Flags shared by every target: C++20, warnings as errors, sanitizers, ccache when it is there.
set(CMAKE_CXX_STANDARD 20)
set(CMAKE_CXX_STANDARD_REQUIRED ON)
set(CMAKE_CXX_EXTENSIONS OFF)
set(CMAKE_EXPORT_COMPILE_COMMANDS ON)
set(CMAKE_POSITION_INDEPENDENT_CODE ON)
if(NOT CMAKE_BUILD_TYPE)
  set(CMAKE_BUILD_TYPE Release CACHE STRING "" FORCE)
endif()

find_program(DAK_CCACHE ccache)
if(DAK_CCACHE)
  set(CMAKE_CXX_COMPILER_LAUNCHER ${DAK_CCACHE})
endif()

add_library(dak_flags INTERFACE)
target_include_directories(dak_flags INTERFACE ${CMAKE_SOURCE_DIR}/src)
target_compile_options(dak_flags INTERFACE -Wall -Wextra -Wpedantic -Wshadow -Werror)
# Designated initialisers leave members at their defaults on purpose.
target_compile_options(dak_flags INTERFACE -Wno-missing-field-initializers)
if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU" AND CMAKE_CXX_COMPILER_VERSION VERSION_LESS 13)
  # False positives inside std::string: GCC bug 105651.
  target_compile_options(dak_flags INTERFACE -Wno-restrict)
endif()
# The answer must not depend on what a compiler contracts into FMA: kernels that want one ask for it.
target_compile_options(dak_flags INTERFACE -ffp-contract=off)
if(DAK_SANITIZE)
  target_compile_options(dak_flags INTERFACE -fsanitize=address,undefined -fno-sanitize-recover=all
                                             -fno-omit-frame-pointer -D_GLIBCXX_ASSERTIONS)
  target_link_options(dak_flags INTERFACE -fsanitize=address,undefined)
endif()
# What reads bytes of the outside: without its coverage the fuzzer is blind, and what has it is slow.
set(DAK_FUZZED base format openai sampler text)
if(DAK_FUZZ)
  target_link_options(dak_flags INTERFACE -fsanitize=fuzzer-no-link)
endif()
if(DAK_PORTABLE)
  set(CMAKE_FIND_LIBRARY_SUFFIXES .a)
  target_link_options(dak_flags INTERFACE -static-libstdc++ -static-libgcc)
endif()

# fmt: shared by default; compiled in for a portable binary (Debian ships no libfmt.a).
find_package(fmt REQUIRED)
if(DAK_PORTABLE)
  target_link_libraries(dak_flags INTERFACE fmt::fmt-header-only)
else()
  target_link_libraries(dak_flags INTERFACE fmt::fmt)
endif()
find_package(nlohmann_json REQUIRED)
target_link_libraries(dak_flags INTERFACE nlohmann_json::nlohmann_json)
find_package(Threads REQUIRED)
target_link_libraries(dak_flags INTERFACE Threads::Threads)

# dak_library(NAME SOURCES... DEPENDS...): one static library per folder of src/.
function(dak_library name)
  cmake_parse_arguments(ARG "" "" "SOURCES;DEPENDS" ${ARGN})
  add_library(dak_${name} STATIC ${ARG_SOURCES})
  target_link_libraries(dak_${name} PUBLIC dak_flags ${ARG_DEPENDS})
  if(DAK_FUZZ AND name IN_LIST DAK_FUZZED)
    target_compile_options(dak_${name} PRIVATE -fsanitize=fuzzer-no-link)
  endif()
endfunction()

# dak_alone(SOURCES...): files whose local names are another's too, kept out of unity builds.
function(dak_alone)
  set_source_files_properties(${ARGN} PROPERTIES SKIP_UNITY_BUILD_INCLUSION ON)
endfunction()

# dak_test(NAME SOURCES... DEPENDS...): one GoogleTest binary per folder of tests/.
function(dak_test name)
  cmake_parse_arguments(ARG "" "TIMEOUT" "SOURCES;DEPENDS" ${ARGN})
  if(NOT ARG_TIMEOUT)
    set(ARG_TIMEOUT 600)
  endif()
  add_executable(dak_${name}_test ${ARG_SOURCES})
  target_link_libraries(dak_${name}_test PRIVATE dak_flags ${ARG_DEPENDS} GTest::gtest_main)
  target_compile_definitions(dak_${name}_test PRIVATE DAK_TEST_DATA="${CMAKE_SOURCE_DIR}/tests/data"
                                                      DAK_SOURCE_DIR="${CMAKE_SOURCE_DIR}")
  target_include_directories(dak_${name}_test PRIVATE ${CMAKE_SOURCE_DIR}/tests)  # support/
  # A third less time to compile than what is tested.
  if(DAK_SANITIZE)
    target_compile_options(dak_${name}_test PRIVATE -O0)
  else()
    target_compile_options(dak_${name}_test PRIVATE $<$<AND:$<CONFIG:Release>,$<COMPILE_LANGUAGE:CXX>>:-O1>)
  endif()
  add_test(NAME ${name} COMMAND dak_${name}_test)
  set_tests_properties(${name} PROPERTIES TIMEOUT ${ARG_TIMEOUT})
endfunction()
