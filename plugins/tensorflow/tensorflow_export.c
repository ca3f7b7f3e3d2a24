/* SPDX-License-Identifier: MIT
 * From TensorFlow: to_dlpack, to_host, cast. */
#include "tensorflow_plugin.h"

ab_status ab_tf_share(const ab_call *call, PyObject *tensor, tf_dtype dtype, DLManagedTensorVersioned **shared) {
  if (dtype.way == TF_WAY_NUMPY) return ab_tf_float8_export(call, tensor, dtype.dtype, shared);
  PyObject *capsule = ab_tf_give(tensor);
  if (capsule == NULL) return abpy_error(call, AB_UNSUPPORTED, "TensorFlow's to_dlpack");
  const ab_status status = abpy_tensor_from_capsule(ab_tf.services, call, capsule, shared);
  Py_DECREF(capsule);
  if (status != AB_OK) return status;
  // Some versions write bool as uint8.
  if ((*shared)->dl_tensor.dtype.bits == dtype.dtype.bits) (*shared)->dl_tensor.dtype = dtype.dtype;
  call->report->flags |= AB_REPORT_SHARED;
  return AB_OK;
}

/// The dtype of the EagerTensor if it can be carried. A string, resource or variant tensor must not get any further:
/// TensorFlow 2.21 aborts the process in to_dlpack.
static ab_status carried_dtype(const ab_call *call, PyObject *tensor, tf_dtype *dtype) {
  const ab_status status = ab_tf_eager_dtype(call, tensor, dtype);
  if (status != AB_OK) return status;
  return dtype->way != TF_WAY_NONE ? AB_OK : ab_fail(call, AB_UNSUPPORTED, "%s", dtype->why_not);
}

static ab_status begin(const ab_call *call) {
  if (!AB_CALL_UNDERSTOOD(call, AB_CALL_NEVER_COPY)) return ab_fail(call, AB_UNSUPPORTED, "unknown call flags");
  return ab_tf_connect(call);
}

/* ------------------------------------------------------------------ to_dlpack */

ab_status ab_tf_to_dlpack(const ab_call *call, void *array, DLManagedTensorVersioned **tensor) {
  ab_status status = begin(call);
  if (status != AB_OK) return status;
  const tf_kind kind = ab_tf_kind(array);
  if (kind == TF_VARIABLE || kind == TF_KERAS_VARIABLE) {
    return ab_fail(call, AB_UNSUPPORTED, "a variable can be assigned to, so its memory is not shared");
  }
  if (kind != TF_EAGER) return ab_fail(call, AB_UNSUPPORTED, "%s", ab_tf_kind_why_not(kind));
  tf_dtype dtype;
  status = carried_dtype(call, array, &dtype);
  if (status != AB_OK) return status;
  const int maybe_gpu = ab_tf.gpu_count > 0;
  const tf_place place =
      maybe_gpu || dtype.way == TF_WAY_NUMPY ? ab_tf_place(array) : (tf_place){TF_PLACE_HOST, {kDLCPU, 0}};
  if (place.kind == TF_PLACE_ELSEWHERE) return ab_fail(call, AB_UNSUPPORTED, "not on a device of this process");
  if (place.kind == TF_PLACE_GPU && (call->flags & AB_CALL_ORDERED) == 0) {
    status = ab_tf_wait(call, place.device);  // TensorFlow shows no stream and its export waits for none
    if (status != AB_OK) return status;
  }
  if (dtype.way == TF_WAY_NUMPY && place.kind != TF_PLACE_HOST) {
    return ab_fail(call, AB_UNSUPPORTED, "TensorFlow shares float8 only on the CPU");
  }
  if (dtype.way == TF_WAY_NUMPY && PyObject_Length(array) < 0) {  // only 0-d tensors have no length
    abpy_clear();
    return ab_fail(call, AB_UNSUPPORTED, "TensorFlow shares float8 only from one dimension on");
  }
  return ab_tf_share(call, array, dtype, tensor);
}

/* ------------------------------------------------------------------ to_host */

static ab_status host_of_eager(const ab_call *call, PyObject *array, DLManagedTensorVersioned **tensor) {
  tf_dtype dtype;
  ab_status status = carried_dtype(call, array, &dtype);
  if (status != AB_OK) return status;
  if (ab_tf_place(array).kind == TF_PLACE_HOST) return ab_tf_share(call, array, dtype, tensor);
  if ((call->flags & AB_CALL_NEVER_COPY) != 0) {
    return ab_fail(call, AB_WOULD_COPY, "the tensor is not in host memory");
  }
  PyObject *copy = NULL;
  status = ab_tf_copy_to(call, array, (DLDevice){kDLCPU, 0}, &copy);
  if (status != AB_OK) return status;
  status = ab_tf_share(call, copy, dtype, tensor);  // its export waits until the copy has arrived
  Py_DECREF(copy);
  if (status != AB_OK) return status;
  call->report->flags &= ~(uint32_t)AB_REPORT_SHARED;
  call->report->flags |= AB_REPORT_COPIED | AB_REPORT_BLOCKED_HOST;
  call->report->bytes_copied += ab_tf_bytes(&(*tensor)->dl_tensor);
  return AB_OK;
}

/// The value of a variable, in memory of its own: assign_add() and its like may write in place.
static ab_status host_of_variable(const ab_call *call, PyObject *variable, DLManagedTensorVersioned **tensor) {
  if ((call->flags & AB_CALL_NEVER_COPY) != 0) {
    return ab_fail(call, AB_WOULD_COPY, "a variable can be assigned to, so its value is copied");
  }
  PyObject *value = NULL;
  ab_status status = ab_tf_variable_value(call, variable, &value);
  if (status != AB_OK) return status;
  DLManagedTensorVersioned *shared = NULL;
  status = host_of_eager(call, value, &shared);
  Py_DECREF(value);
  if (status != AB_OK) return status;
  if ((call->report->flags & AB_REPORT_COPIED) != 0) {  // it came from a GPU, or is 0-d
    *tensor = shared;
    return AB_OK;
  }
  status = ab_tf_host_copy(call, &shared->dl_tensor, tensor);
  shared->deleter(shared);
  call->report->flags &= ~(uint32_t)AB_REPORT_SHARED;
  return status;
}

ab_status ab_tf_to_host(const ab_call *call, void *array, DLManagedTensorVersioned **tensor) {
  const ab_status status = begin(call);
  if (status != AB_OK) return status;
  const tf_kind kind = ab_tf_kind(array);
  if (kind == TF_EAGER) return host_of_eager(call, array, tensor);
  if (kind == TF_VARIABLE || kind == TF_KERAS_VARIABLE) return host_of_variable(call, array, tensor);
  return ab_fail(call, AB_UNSUPPORTED, "%s", ab_tf_kind_why_not(kind));
}

/* ------------------------------------------------------------------ cast */

ab_status ab_tf_cast(const ab_call *call, void *array, DLDataType dtype, void **result) {
  ab_status status = begin(call);
  if (status != AB_OK) return status;
  tf_way way = TF_WAY_NONE;
  const long number = ab_tf_dtype_number(dtype, &way);
  if (number == 0) return ab_fail(call, AB_UNSUPPORTED, "TensorFlow does not have this dtype");
  PyObject *cast = PyObject_CallMethod(ab_tf.tensorflow, "cast", "Ol", (PyObject *)array, number);
  PyObject *tensor = NULL;
  status = ab_tf_need_eager(call, cast, "tf.cast", &tensor);
  if (status == AB_OK) *result = tensor;
  return status;
}
