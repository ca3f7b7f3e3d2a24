/* SPDX-License-Identifier: MIT
 * Copies that NumPy itself makes: into another dtype, or into native byte order. */
#include "numpy_plugin.h"

PyObject *numpy_copy_as(PyArrayObject *array, PyArray_Descr *descr) {
  return PyArray_FromArray(
      array, descr,
      NPY_ARRAY_DEFAULT | NPY_ARRAY_ENSURECOPY | NPY_ARRAY_ENSUREARRAY | NPY_ARRAY_NOTSWAPPED | NPY_ARRAY_FORCECAST);
}

ab_status numpy_cast(const ab_call *call, void *object, DLDataType dtype, void **result) {
  if (!AB_CALL_UNDERSTOOD(call, AB_CALL_NEVER_COPY))
    return ab_fail(call, AB_UNSUPPORTED, "an unknown flag of the call");
  if (call->flags & AB_CALL_NEVER_COPY) return ab_fail(call, AB_WOULD_COPY, "another dtype needs a copy");
  PyArray_Descr *descr = NULL;
  const ab_status status = numpy_dtype_descr(call, dtype, &descr);
  if (status != AB_OK) return status;
  PyObject *cast = numpy_copy_as(object, descr);
  if (cast == NULL) return abpy_error(call, AB_FRAMEWORK, "NumPy cannot cast the array");
  call->report->flags |= AB_REPORT_COPIED | AB_REPORT_CAST;
  call->report->bytes_copied = (uint64_t)PyArray_NBYTES((PyArrayObject *)cast);
  *result = cast;
  return AB_OK;
}
