/* SPDX-License-Identifier: MIT
 * Exceptions become errors: the one place where they come in. */
#include "abpy.h"

static const ab_services *core_services;

void abpy_init(const ab_services *services) { core_services = services; }

/* ------------------------------------------------------------------ the exception's life */

static void failure_release(ab_failure *self) {
  PyObject *exception = self->object;
  self->object = NULL;
  if (exception == NULL || core_services == NULL) return;
  void *core = core_services->core;
  if (core_services->runtime_ending(core)) return;  // a leak on purpose: the interpreter is going away
  // Whoever raises the exception takes the object first. Here nobody did, so a wish to stop is still unheard.
  if (core_services->lock_held(core)) {
    abpy_drop_exception(exception);
  } else {
    core_services->defer_release(core, abpy_drop_exception, exception, NULL, 0, 0);
  }
}

PyObject *abpy_take_exception(void) {
  PyObject *type = NULL, *value = NULL, *traceback = NULL;
  PyErr_Fetch(&type, &value, &traceback);
  if (type == NULL) return NULL;
  PyErr_NormalizeException(&type, &value, &traceback);
  if (traceback != NULL && value != NULL) PyException_SetTraceback(value, traceback);
  Py_XDECREF(traceback);
  Py_DECREF(type);
  return value;
}

/* ------------------------------------------------------------------ the exception's text */

enum { MESSAGE_SIZE = 512 };

/// Copies the first line of `text` that is not empty. Cuts between UTF-8 characters.
static void copy_line(const char *text, char line[MESSAGE_SIZE]) {
  static const char more[] = " …";
  text += strspn(text, "\r\n");
  const size_t whole = strlen(text), length = strcspn(text, "\r\n");
  size_t count = length;
  if (count > MESSAGE_SIZE - sizeof more) {
    count = MESSAGE_SIZE - sizeof more;
    while (count > 0 && ((unsigned char)text[count] & 0xC0) == 0x80) count--;
  }
  memcpy(line, text, count);
  memcpy(line + count, count < whole ? more : "", count < whole ? sizeof more : 1);
}

/// UTF-8 of str(object) as bytes, new reference. str() may raise, and a string may hold lone surrogates.
static PyObject *utf8_of(PyObject *object) {
  PyObject *string = PyObject_Str(object);
  PyObject *bytes = string != NULL ? PyUnicode_AsEncodedString(string, "utf-8", "backslashreplace") : NULL;
  if (bytes == NULL) abpy_clear();
  Py_XDECREF(string);
  return bytes;
}

static void exception_line(PyObject *exception, char line[MESSAGE_SIZE]) {
  PyObject *bytes = utf8_of(exception);
  const char *text = bytes != NULL ? PyBytes_AsString(bytes) : NULL;
  copy_line(text != NULL ? text : "(its text cannot be made)", line);
  Py_XDECREF(bytes);
}

static void type_name(PyObject *exception, char line[MESSAGE_SIZE]) {
  PyObject *name = PyType_GetQualName(Py_TYPE(exception));
  const char *text = name != NULL ? PyUnicode_AsUTF8AndSize(name, NULL) : NULL;
  if (text == NULL) abpy_clear();
  copy_line(text != NULL ? text : "exception", line);
  Py_XDECREF(name);
}

static void describe_exception(ab_error *error, ab_status status, const char *what, PyObject *exception) {
  char type[MESSAGE_SIZE], message[MESSAGE_SIZE];
  type_name(exception, type);
  exception_line(exception, message);
  if (message[0] == '\0') {
    ab_error_set(error, status, "%s: %.100s", what, type);
  } else {
    ab_error_set(error, status, "%s: %.100s: %s", what, type, message);
  }
}

/* ------------------------------------------------------------------ the exception as an error */

static ab_status status_of(PyObject *exception, ab_status status) {
  if (abpy_asks_to_stop(exception)) return AB_CANCELLED;
  return PyErr_GivenExceptionMatches(exception, PyExc_MemoryError) ? AB_OOM : status;
}

static ab_status error_from_exception(ab_error *error, int want_text, ab_status status, const char *what) {
  PyObject *exception = abpy_take_exception();
  if (exception == NULL) return ab_error_set(want_text ? error : NULL, status, "%s", what);
  status = status_of(exception, status);
  if (error == NULL) {
    abpy_drop_exception(exception);
    return status;
  }
  error->status = status;
  if (want_text) describe_exception(error, status, what, exception);
  ab_failure failure = {.struct_size = (uint32_t)sizeof failure,
                        .status = status,
                        .domain = "python",
                        .object = exception,
                        .release = failure_release};
  ab_error_set_failure(error, &failure);
  return status;
}

ab_status abpy_error(const ab_call *call, ab_status status, const char *what) {
  return error_from_exception(call->error, (call->flags & AB_CALL_NO_TEXT) == 0, status, what);
}

ab_status abpy_error_to(ab_error *error, ab_status status, const char *what) {
  return error_from_exception(error, 1, status, what);
}

/* ------------------------------------------------------------------ out-of-memory signatures */

/// 1 if `string`, a new reference that is taken, is `expected`.
static int take_equals(PyObject *string, const char *expected) {
  const char *text = string != NULL && PyUnicode_Check(string) ? PyUnicode_AsUTF8AndSize(string, NULL) : NULL;
  const int equal = text != NULL && strcmp(text, expected) == 0;
  if (text == NULL) abpy_clear();
  Py_XDECREF(string);
  return equal;
}

static int type_matches(PyObject *exception, const char *module, const char *name) {
  PyTypeObject *type = Py_TYPE(exception);
  return take_equals(PyType_GetQualName(type), name) &&
         (module == NULL || take_equals(PyObject_GetAttrString((PyObject *)type, "__module__"), module));
}

int abpy_exception_is(PyObject *exception, const char *module, const char *name) {
  return exception != NULL && type_matches(exception, module, name);
}

static int text_matches(PyObject *exception, const char *begins, const char *contains) {
  if (begins == NULL && contains == NULL) return 1;
  PyObject *bytes = utf8_of(exception);
  const char *text = bytes != NULL ? PyBytes_AsString(bytes) : NULL;
  const int matches = text != NULL && (begins == NULL || strncmp(text, begins, strlen(begins)) == 0) &&
                      (contains == NULL || strstr(text, contains) != NULL);
  Py_XDECREF(bytes);
  return matches;
}

ab_status abpy_match_failure(const ab_failure *failure, const abpy_signature *signatures, size_t count) {
  if (failure->object == NULL || failure->domain == NULL || strcmp(failure->domain, "python") != 0) return AB_OK;
  for (size_t i = 0; i < count; i++) {
    const abpy_signature *signature = &signatures[i];
    if (!type_matches(failure->object, signature->module, signature->type)) continue;
    if (text_matches(failure->object, signature->begins, signature->contains)) return signature->verdict;
  }
  return AB_OK;
}

ab_status abpy_error_matched(const ab_call *call, ab_status status, const char *what, const abpy_signature *signatures,
                             size_t count) {
  const ab_status given = abpy_error(call, status, what);
  if (given != status || call->error->failure.struct_size == 0) return given;
  const ab_status verdict = abpy_match_failure(&call->error->failure, signatures, count);
  if (verdict == AB_OK) return status;
  call->error->status = verdict;
  call->error->failure.status = verdict;
  return verdict;
}
