# The CUDA backend: Hopper code only, the runtime linked statically, the driver found at run time.
option(DAK_CUDA "Build the CUDA backend (needs nvcc 12.3 or newer)" OFF)
if(DAK_CUDA)
  set(CMAKE_CUDA_ARCHITECTURES OFF)  # CMake 3.25 knows neither 90a nor CUDA's C++20
  if(NOT CMAKE_CUDA_COMPILER)
    find_program(CMAKE_CUDA_COMPILER nvcc HINTS /usr/local/cuda/bin REQUIRED)
  endif()
  enable_language(CUDA)
  set(CMAKE_CUDA20_STANDARD_COMPILE_OPTION "-std=c++20")
  set(CMAKE_CUDA20_EXTENSION_COMPILE_OPTION "-std=c++20")
  set(CMAKE_CUDA_STANDARD 20)
  if(DAK_CCACHE)
    set(CMAKE_CUDA_COMPILER_LAUNCHER ${DAK_CCACHE})
  endif()
  set(suffixes ${CMAKE_FIND_LIBRARY_SUFFIXES})
  set(CMAKE_FIND_LIBRARY_SUFFIXES .so .a)  # a portable build looks for .a alone; this wants both
  find_package(CUDAToolkit REQUIRED)
  set(CMAKE_FIND_LIBRARY_SUFFIXES ${suffixes})
  # What every target with CUDA sources or headers links.
  add_library(dak_cuda_flags INTERFACE)
  target_link_libraries(dak_cuda_flags INTERFACE CUDA::cudart_static)
  target_compile_options(dak_cuda_flags INTERFACE
    "$<$<COMPILE_LANGUAGE:CUDA>:--expt-relaxed-constexpr;-gencode=arch=compute_90a,code=sm_90a;-Xcompiler=-Wall,-Wextra,-Wshadow>")
endif()
