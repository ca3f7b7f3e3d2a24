/* SPDX-License-Identifier: MIT */
#include "native.h"

/* What is no stream at all was told by the reader; what cannot be recorded is an error of the conversion's kind. */
static PyObject *record(PyObject *object, const ab_backend *backend, PyObject *value) {
  ab_stream stream;
  if (native_stream_read(value, (DLDevice){kDLCUDA, 0}, &stream) != 0) return NULL;
  ab_error error;
  ab_error_init(&error);
  const ab_array array = {backend, object};
  const ab_status status = ab_array_record_stream(&array, &stream, &error);
  native_stream_end(&stream);
  if (status != AB_OK) return native_raise(status, &error, ab_backend_name(backend), "", "record_stream");
  ab_error_clear(&error);
  Py_RETURN_NONE;
}

NATIVE_CALL(native_record_stream) {
  (void)module;
  static const native_signature signature = {"record_stream", {"x", "stream"}, 2, 2};
  PyObject *values[NATIVE_MAX_ARGUMENTS];
  if (native_arguments(&signature, args, count, names, values) != 0) return NULL;
  ab_error error;
  ab_error_init(&error);
  const ab_backend *backend = native_owner_of(values[0], &error);
  if (backend != NULL) return record(values[0], backend, values[1]);
  return native_not_owned(values[0], &error) ? native_raise(error.status, &error, "", "", "record_stream") : NULL;
}
