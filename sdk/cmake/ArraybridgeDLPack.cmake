# Finds dlpack.h 1.3 or later and leaves its folder in DLPACK_INCLUDE_DIR.
# Looked at, in this order: -DDLPACK_INCLUDE_DIR, the apache-tvm-ffi wheel of the Python in use, the system.
set(DLPACK_INCLUDE_DIR "" CACHE PATH "folder that holds dlpack/dlpack.h, 1.3 or later")

# "1.3" for a folder that holds dlpack/dlpack.h, "" if there is none or it is older than its version macros.
function(arraybridge_dlpack_version folder result)
  set(${result} "" PARENT_SCOPE)
  if(NOT EXISTS ${folder}/dlpack/dlpack.h)
    return()
  endif()
  foreach(part MAJOR MINOR)
    file(STRINGS ${folder}/dlpack/dlpack.h line REGEX "^#define DLPACK_${part}_VERSION +[0-9]+")
    string(REGEX MATCH "[0-9]+$" ${part} "${line}")
  endforeach()
  if(NOT MAJOR STREQUAL "" AND NOT MINOR STREQUAL "")
    set(${result} ${MAJOR}.${MINOR} PARENT_SCOPE)
  endif()
endfunction()

# The folders of a Python package's files, found without importing the package.
function(arraybridge_python_package_folders package result)
  set(${result} "" PARENT_SCOPE)
  set(interpreter ${Python_EXECUTABLE})
  if(NOT interpreter)
    find_program(interpreter NAMES python3 python NO_CACHE)
  endif()
  if(NOT interpreter)
    return()
  endif()
  execute_process(
    COMMAND ${interpreter} -c "
import importlib.util
spec = importlib.util.find_spec('${package}')
print(';'.join(spec.submodule_search_locations) if spec and spec.submodule_search_locations else '', end='')"
    OUTPUT_VARIABLE folders ERROR_QUIET RESULT_VARIABLE failed)
  if(NOT failed)
    set(${result} "${folders}" PARENT_SCOPE)
  endif()
endfunction()

function(arraybridge_find_dlpack)
  # What was found by itself is looked for again: pip builds in an environment that is gone the next time.
  if(DLPACK_INCLUDE_DIR AND NOT DLPACK_INCLUDE_DIR STREQUAL ARRAYBRIDGE_DLPACK_FOUND)
    set(candidates ${DLPACK_INCLUDE_DIR})
  else()
    arraybridge_python_package_folders(tvm_ffi wheels)
    foreach(wheel IN LISTS wheels)
      list(APPEND candidates ${wheel}/include ${wheel}/3rdparty/dlpack/include)
    endforeach()
    find_path(system_dlpack dlpack/dlpack.h NO_CACHE)
    if(system_dlpack)
      list(APPEND candidates ${system_dlpack})
    endif()
  endif()
  foreach(candidate IN LISTS candidates)
    arraybridge_dlpack_version(${candidate} version)
    if(version AND NOT version VERSION_LESS 1.3)
      if(NOT DLPACK_INCLUDE_DIR STREQUAL candidate)
        set(DLPACK_INCLUDE_DIR ${candidate} CACHE PATH "folder that holds dlpack/dlpack.h, 1.3 or later" FORCE)
        set(ARRAYBRIDGE_DLPACK_FOUND ${candidate} CACHE INTERNAL "DLPACK_INCLUDE_DIR, if it was found")
      endif()
      message(STATUS "dlpack.h ${version}: ${candidate}")
      return()
    endif()
    string(APPEND refused "\n  ${candidate}: version '${version}'")
  endforeach()
  if(NOT candidates)
    set(refused " the wheel apache-tvm-ffi, not installed; the system, none there.")
  endif()
  message(FATAL_ERROR "No dlpack.h 1.3 or later. Looked at:${refused}\n"
    "`pip install apache-tvm-ffi` brings one (give -DPython_EXECUTABLE=… if it is not for python3), "
    "or set -DDLPACK_INCLUDE_DIR=….")
endfunction()

arraybridge_find_dlpack()
