# CUDA for the kernels and the backend: found or not, never required. Sets DAK_CUDA. Include it at the top level, so
# that every folder may have .cu files.
include_guard(GLOBAL)
include(CheckLanguage)
if(NOT DEFINED DAK_CUDA)
  if(NOT CMAKE_CUDA_COMPILER AND EXISTS /usr/local/cuda/bin/nvcc)
    set(CMAKE_CUDA_COMPILER /usr/local/cuda/bin/nvcc)
  endif()
  check_language(CUDA)
  if(CMAKE_CUDA_COMPILER)
    set(DAK_CUDA ON CACHE BOOL "Build the CUDA kernels")
  else()
    set(DAK_CUDA OFF CACHE BOOL "Build the CUDA kernels")
  endif()
endif()
if(NOT DAK_CUDA)
  message(STATUS "no nvcc: the build is CPU-only")
  return()
endif()

# sm_90a: wgmma exists only there. DAK_CUDA_FLAGS names the target; CMake must not add its own.
set(CMAKE_CUDA_ARCHITECTURES OFF)
set(CMAKE_CUDA_RUNTIME_LIBRARY Static)
if(DAK_CCACHE)
  set(CMAKE_CUDA_COMPILER_LAUNCHER ${DAK_CCACHE})
endif()
set(DAK_CUDA_FLAGS -gencode=arch=compute_90a,code=sm_90a
                   -Xcompiler=-Wall,-Wextra,-Wshadow)
enable_language(CUDA)
# CMake 3.25 does not know that nvcc 13 speaks C++20.
if(NOT CMAKE_CUDA20_STANDARD_COMPILE_OPTION)
  set(CMAKE_CUDA20_STANDARD_COMPILE_OPTION "-std=c++20")
  set(CMAKE_CUDA20_EXTENSION_COMPILE_OPTION "-std=c++20")
endif()
set(suffixes ${CMAKE_FIND_LIBRARY_SUFFIXES})
set(CMAKE_FIND_LIBRARY_SUFFIXES .so .a)  # a portable build looks for .a alone; this wants both
find_package(CUDAToolkit REQUIRED)
set(CMAKE_FIND_LIBRARY_SUFFIXES ${suffixes})

# dak_device_library(NAME SOURCES... DEPENDS...): .cu files only. They get no dak_flags: nvcc 13.0
# rejects fmt 9's headers. DEPENDS count at link time only.
# The driver library is never linked: the binary must start on a machine without it.
function(dak_device_library name)
  cmake_parse_arguments(ARG "" "" "SOURCES;DEPENDS" ${ARGN})
  add_library(dak_${name} STATIC ${ARG_SOURCES})
  target_include_directories(dak_${name} PUBLIC ${CMAKE_SOURCE_DIR}/src)
  target_compile_options(dak_${name} PRIVATE ${DAK_CUDA_FLAGS})
  target_link_libraries(dak_${name} PUBLIC CUDA::cudart_static INTERFACE ${ARG_DEPENDS})
endfunction()
