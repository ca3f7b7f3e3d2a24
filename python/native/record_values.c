/* SPDX-License-Identifier: MIT */
#include "native.h"

int native_recorders;

PyObject *native_record_sinks(void) { return PyObject_CallNoArgs(native_hook.sinks); }

static PyObject *step_list(const ab_record *record) {
  PyObject *list = PyList_New(0);
  const uint32_t count = record->step_count < AB_MAX_STEPS ? record->step_count : AB_MAX_STEPS;
  for (uint32_t index = 0; list != NULL && index < count; index++) {
    const ab_step *step = &record->steps[index];
    PyObject *values =
        Py_BuildValue("(sOKN)", ab_step_name((ab_step_kind)step->kind), step->refused ? Py_True : Py_False,
                      (unsigned long long)step->bytes, native_text(step->reason));
    if (values == NULL || PyList_Append(list, values) != 0) Py_CLEAR(list);
    Py_XDECREF(values);
  }
  return list;
}

static const char *name_or_none(const ab_backend *backend) { return backend != NULL ? ab_backend_name(backend) : ""; }

static const char *dtype_or_none(DLDataType dtype) {
  const char *name = dtype.bits != 0 ? ab_dtype_name(dtype) : NULL;
  return name != NULL ? name : "";
}

PyObject *native_record_values(const ab_record *record) {
  return Py_BuildValue("{ss ss sN sN ss ss sI sK sK sd sN}", "source", name_or_none(record->source), "target",
                       name_or_none(record->target), "source_device", native_device_label(record->source_device),
                       "target_device", native_device_label(record->target_device), "source_dtype",
                       dtype_or_none(record->source_dtype), "target_dtype", dtype_or_none(record->target_dtype),
                       "flags", (unsigned int)record->flags, "bytes", (unsigned long long)record->bytes, "bytes_copied",
                       (unsigned long long)record->bytes_copied, "seconds", record->seconds, "steps",
                       step_list(record));
}

int native_record_deliver(PyObject *sinks, const ab_record *record) {
  PyObject *values = native_record_values(record);
  PyObject *done = values != NULL ? PyObject_CallFunctionObjArgs(native_hook.deliver, sinks, values, NULL) : NULL;
  Py_XDECREF(values);
  Py_XDECREF(done);
  return done != NULL ? 0 : -1;
}

NATIVE_CALL(native_count_recorders) {
  (void)module;
  static const native_signature signature = {"count_recorders", {"more"}, 1, 1};
  PyObject *values[NATIVE_MAX_ARGUMENTS];
  if (native_arguments(&signature, args, count, names, values) != 0) return NULL;
  const long more = PyLong_AsLong(values[0]);
  if (more == -1 && PyErr_Occurred()) return NULL;
  native_recorders += (int)more;
  Py_RETURN_NONE;
}
