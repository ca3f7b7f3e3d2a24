/* SPDX-License-Identifier: MIT */
#include <dlfcn.h>

#include "abpy.h"

typedef PyObject *(*vectorcall)(PyObject *callable, PyObject *const *arguments, size_t count, PyObject *names);

/* In every Python from 3.9 on, but in the limited API only from 3.12: looked up once, done without if it is not there.
 */
static vectorcall find_vectorcall(void) {
  static vectorcall found;
  static int looked;
  if (looked) return found;
  *(void **)&found = dlsym(RTLD_DEFAULT, "PyObject_Vectorcall");
  looked = 1;
  return found;
}

PyObject *abpy_method_(PyObject *object, const char *name, ...) {
  enum { MOST = 3 };
  PyObject *arguments[MOST] = {NULL};
  va_list list;
  va_start(list, name);
  for (int i = 0; i < MOST; i++) {
    arguments[i] = va_arg(list, PyObject *);
    if (arguments[i] == NULL) break;
  }
  va_end(list);
  PyObject *key = PyUnicode_InternFromString(name);
  if (key == NULL) return NULL;
  PyObject *result = PyObject_CallMethodObjArgs(object, key, arguments[0], arguments[1], arguments[2], NULL);
  Py_DECREF(key);
  return result;
}

PyObject *abpy_call_one(PyObject *callable, PyObject *argument) {
  const vectorcall call = find_vectorcall();
  return call != NULL ? call(callable, &argument, 1, NULL) : PyObject_CallFunctionObjArgs(callable, argument, NULL);
}
