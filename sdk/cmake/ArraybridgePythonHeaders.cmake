# Finds Python's headers (never its library) and tells whether this Python runs without a global lock.
# Sets Python_INCLUDE_DIRS and ARRAYBRIDGE_FREE_THREADED in the caller's scope.
macro(arraybridge_find_python_headers)
  find_package(Python 3.11 REQUIRED COMPONENTS Interpreter Development.Module)
  execute_process(
    COMMAND ${Python_EXECUTABLE} -c
      "import sysconfig; print(int(bool(sysconfig.get_config_var('Py_GIL_DISABLED'))), end='')"
    OUTPUT_VARIABLE ARRAYBRIDGE_FREE_THREADED)
endmacro()
