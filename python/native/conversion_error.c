/* SPDX-License-Identifier: MIT */
#include "native.h"

void native_type_name(PyObject *object, char *text, size_t size) {
  PyObject *name = PyType_GetName(Py_TYPE(object));
  const char *utf8 = name != NULL ? PyUnicode_AsUTF8AndSize(name, NULL) : NULL;
  snprintf(text, size, "%s", utf8 != NULL ? utf8 : "object");
  if (utf8 == NULL) PyErr_Clear();
  Py_XDECREF(name);
}

int native_no(void) {
  if (PyErr_Occurred() == NULL) return 0;
  if (!PyErr_ExceptionMatches(PyExc_Exception)) return -1;
  PyErr_Clear();
  return 0;
}

/* The exception that the framework raised: borrowed from `error`. */
static PyObject *raised_by_framework(const ab_error *error) {
  const ab_failure *failure = &error->failure;
  if (failure->struct_size == 0 || failure->object == NULL || failure->domain == NULL) return NULL;
  return strcmp(failure->domain, "python") == 0 ? failure->object : NULL;
}

PyObject *native_text(const char *text) { return PyUnicode_DecodeUTF8(text, (Py_ssize_t)strlen(text), "replace"); }

PyObject *native_meant(const char *what, const char *word) {
  PyObject *text = native_text(word);
  PyObject *meant = text != NULL ? PyObject_CallFunction(native_hook.meant, "sO", what, text) : NULL;
  Py_XDECREF(text);
  return meant;
}

static PyObject *build(ab_status status, const ab_error *error, const char *source, const char *target,
                       const char *method) {
  PyObject *reason = native_text(error->text[0] != '\0' ? error->text : ab_status_text(status));
  PyObject *hint = native_text(error->hint);
  PyObject *made = NULL;
  if (reason != NULL && hint != NULL)
    made = PyObject_CallFunction(native_hook.error, "OsssOOs", status == AB_NO_BACKEND ? Py_True : Py_False, source,
                                 target, method, reason, hint, ab_status_name(status));
  Py_XDECREF(reason);
  Py_XDECREF(hint);
  return made;
}

PyObject *native_raise(ab_status status, ab_error *error, const char *source, const char *target, const char *method) {
  PyObject *cause = raised_by_framework(error);
  if (status == AB_CANCELLED && cause != NULL) { /* Ctrl-C and the like are not ours to dress up */
    PyErr_SetObject((PyObject *)Py_TYPE(cause), cause);
    error->failure.object = NULL; /* a plugin that gives up such an exception unraised has it raised later, again */
    Py_DECREF(cause);
    ab_error_clear(error);
    return NULL;
  }
  if (status == AB_CANCELLED && native_listen_raise()) {
    ab_error_clear(error);
    return NULL;
  }
  /* A signal handler's exception that a plugin could not report waits here: it may be why the conversion failed. */
  if (Py_MakePendingCalls() != 0) {
    ab_error_clear(error);
    return NULL;
  }
  PyObject *made = build(status, error, source, target, method);
  if (made != NULL) {
    Py_XINCREF(cause);
    PyException_SetCause(made, cause); /* takes it; NULL: none */
    PyErr_SetObject((PyObject *)Py_TYPE(made), made);
    Py_DECREF(made);
  }
  ab_error_clear(error);
  return NULL;
}
