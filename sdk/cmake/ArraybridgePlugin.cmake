# arraybridge_add_plugin(NAME torch SOURCES a.c b.c [PYTHON] [LIBRARIES …])
#
# Builds the plugin arraybridge_torch.so (target arraybridge_torch) and installs it into ARRAYBRIDGE_PLUGIN_DIR.
#   PYTHON     a plugin of a Python framework: Python's headers, the limited API, and the helpers of abpy.h
#   LIBRARIES  further libraries or targets to link
# In the build tree it lands in ARRAYBRIDGE_PLUGIN_OUTPUT, so that all plugins of one build lie together.
include(GNUInstallDirs)
include(${CMAKE_CURRENT_LIST_DIR}/ArraybridgePythonHeaders.cmake)

set(ARRAYBRIDGE_PLUGIN_DIR ${CMAKE_INSTALL_LIBDIR}/arraybridge/plugins CACHE STRING
  "where plugins are installed, below the prefix")
if(NOT DEFINED ARRAYBRIDGE_PLUGIN_OUTPUT)
  set(ARRAYBRIDGE_PLUGIN_OUTPUT ${CMAKE_BINARY_DIR}/plugins)
endif()

if(NOT CMAKE_BUILD_TYPE AND NOT CMAKE_CONFIGURATION_TYPES)
  set(CMAKE_BUILD_TYPE Release)
endif()

# What a plugin of a Python framework needs. Symbols of Python resolve from the process: libpython is never linked.
function(arraybridge_plugin_use_python target)
  if(NOT TARGET arraybridge::python)
    message(FATAL_ERROR "${target}: this arraybridge SDK was built without its Python helpers")
  endif()
  arraybridge_find_python_headers()
  if(DEFINED ARRAYBRIDGE_SDK_FREE_THREADED AND NOT ARRAYBRIDGE_SDK_FREE_THREADED EQUAL ARRAYBRIDGE_FREE_THREADED)
    message(FATAL_ERROR "${target}: ${Python_EXECUTABLE} and the arraybridge SDK differ in free threading; "
      "set -DPython_EXECUTABLE=… or install an SDK built with this Python")
  endif()
  target_include_directories(${target} SYSTEM PRIVATE ${Python_INCLUDE_DIRS})
  target_link_libraries(${target} PRIVATE arraybridge::python)
endfunction()

function(arraybridge_add_plugin)
  cmake_parse_arguments(PARSE_ARGV 0 plugin "PYTHON" "NAME" "SOURCES;LIBRARIES")
  if(NOT plugin_NAME OR NOT plugin_SOURCES OR plugin_UNPARSED_ARGUMENTS)
    message(FATAL_ERROR "arraybridge_add_plugin(NAME name SOURCES a.c … [PYTHON] [LIBRARIES …]): "
      "name or sources missing, or not understood: ${plugin_UNPARSED_ARGUMENTS}")
  endif()
  set(target arraybridge_${plugin_NAME})
  add_library(${target} MODULE ${plugin_SOURCES})
  set_target_properties(${target} PROPERTIES
    PREFIX "" SUFFIX .so OUTPUT_NAME arraybridge_${plugin_NAME}
    LIBRARY_OUTPUT_DIRECTORY ${ARRAYBRIDGE_PLUGIN_OUTPUT}
    C_STANDARD 11 C_STANDARD_REQUIRED ON C_VISIBILITY_PRESET hidden POSITION_INDEPENDENT_CODE ON)
  target_link_libraries(${target} PRIVATE arraybridge::sdk ${plugin_LIBRARIES})
  # Lazy binding would turn a missing symbol into an abort at the first call instead of a plugin that is skipped.
  target_link_options(${target} PRIVATE -Wl,-z,now,-z,relro,--as-needed)
  if(TARGET arraybridge_options)
    target_link_libraries(${target} PRIVATE arraybridge_options)
  endif()
  if(plugin_PYTHON)
    arraybridge_plugin_use_python(${target})
  endif()
  install(TARGETS ${target} LIBRARY DESTINATION ${ARRAYBRIDGE_PLUGIN_DIR} COMPONENT plugins)
endfunction()
