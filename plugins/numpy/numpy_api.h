/* SPDX-License-Identifier: MIT
 * NumPy's C API as this plugin uses it. Include it before every other header. */
#ifndef ARRAYBRIDGE_NUMPY_API_H
#define ARRAYBRIDGE_NUMPY_API_H

#include <abpy.h>

/* One table of functions for all files; numpy_plugin.c defines it, start() fills it. */
#define PY_ARRAY_UNIQUE_SYMBOL arraybridge_numpy_functions
#ifndef ARRAYBRIDGE_NUMPY_DEFINES_API
#define NO_IMPORT_ARRAY
#endif
/* What is older than 1.23 is refused by import_array(), what is newer runs. */
#define NPY_TARGET_VERSION NPY_1_23_API_VERSION
#define NPY_NO_DEPRECATED_API NPY_1_23_API_VERSION
#include <numpy/arrayobject.h>

#ifndef NPY_2_0_API_VERSION
#error "the headers of NumPy 2.0 or later are needed: set -DNUMPY_INCLUDE_DIR"
#endif

#endif /* ARRAYBRIDGE_NUMPY_API_H */
