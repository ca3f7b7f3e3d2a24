# Finds cuda.h (a header only: neither the toolkit nor the driver is needed) and leaves its folder in CUDA_INCLUDE_DIR.
# Sets ARRAYBRIDGE_HAS_CUDA_H and ARRAYBRIDGE_CUDA_H_VERSION ("13.5"). Without one the former is OFF, with a message.
# Looked at, in this order: -DCUDA_INCLUDE_DIR, the nvidia-cuda-runtime wheel of the Python in use, a toolkit, the system.
set(CUDA_INCLUDE_DIR "" CACHE PATH "folder that holds cuda.h, 12.0 or later")

# "12.4" for a folder that holds cuda.h, "" if there is none.
function(arraybridge_cuda_version folder result)
  set(${result} "" PARENT_SCOPE)
  if(NOT EXISTS ${folder}/cuda.h)
    return()
  endif()
  file(STRINGS ${folder}/cuda.h line REGEX "^#define CUDA_VERSION +[0-9]+" LIMIT_COUNT 1)
  string(REGEX MATCH "[0-9]+$" number "${line}")
  if(number)
    math(EXPR major "${number} / 1000")
    math(EXPR minor "${number} % 1000 / 10")
    set(${result} ${major}.${minor} PARENT_SCOPE)
  endif()
endfunction()

# The include folders of CUDA wheels: nvidia/cu13, nvidia/cu14, …, nvidia/cuda_runtime.
function(arraybridge_cuda_wheel_folders result)
  arraybridge_python_package_folders(nvidia roots)
  set(folders)
  foreach(root IN LISTS roots)
    file(GLOB found ${root}/cu1[3-9]/include)
    list(APPEND folders ${found} ${root}/cuda_runtime/include)
  endforeach()
  set(${result} "${folders}" PARENT_SCOPE)
endfunction()

function(arraybridge_find_cuda)
  set(ARRAYBRIDGE_HAS_CUDA_H OFF PARENT_SCOPE)
  # What was found by itself is looked for again: pip builds in an environment that is gone the next time.
  if(CUDA_INCLUDE_DIR AND NOT CUDA_INCLUDE_DIR STREQUAL ARRAYBRIDGE_CUDA_FOUND)
    set(candidates ${CUDA_INCLUDE_DIR})
  else()
    arraybridge_cuda_wheel_folders(candidates)
    find_path(toolkit_cuda cuda.h NO_CACHE
      HINTS ENV CUDA_HOME ENV CUDA_PATH PATHS /usr/local/cuda /opt/cuda PATH_SUFFIXES include)
    if(toolkit_cuda)
      list(APPEND candidates ${toolkit_cuda})
    endif()
  endif()
  foreach(candidate IN LISTS candidates)
    arraybridge_cuda_version(${candidate} version)
    if(version AND NOT version VERSION_LESS 12.0)
      if(NOT CUDA_INCLUDE_DIR STREQUAL candidate)
        set(CUDA_INCLUDE_DIR ${candidate} CACHE PATH "folder that holds cuda.h, 12.0 or later" FORCE)
        set(ARRAYBRIDGE_CUDA_FOUND ${candidate} CACHE INTERNAL "CUDA_INCLUDE_DIR, if it was found")
      endif()
      message(STATUS "cuda.h ${version}: ${candidate}")
      set(ARRAYBRIDGE_HAS_CUDA_H ON PARENT_SCOPE)
      set(ARRAYBRIDGE_CUDA_H_VERSION ${version} PARENT_SCOPE)
      return()
    endif()
  endforeach()
  message(STATUS "cuda.h: none of 12.0 or later found; `pip install nvidia-cuda-runtime` brings one, "
    "or set -DCUDA_INCLUDE_DIR=…")
endfunction()

if(NOT DEFINED ARRAYBRIDGE_HAS_CUDA_H)
  arraybridge_find_cuda()
endif()
