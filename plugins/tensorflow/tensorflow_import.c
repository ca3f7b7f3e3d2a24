/* SPDX-License-Identifier: MIT
 * Into TensorFlow: capabilities, from_dlpack, from_host. */
#include "tensorflow_plugin.h"

enum { ALIGNMENT = 64 };  // bytes; what lies otherwise imports well and aborts the process at its first operation

/* ------------------------------------------------------------------ what is taken */

ab_status ab_tf_capabilities(const ab_call *call, DLDevice device, uint32_t slot, ab_capabilities *capabilities) {
  const ab_status status = ab_tf_connect(call);
  if (status != AB_OK) return status;
  if (!ab_tf_has_device(device)) return ab_fail(call, AB_UNSUPPORTED, "TensorFlow has no such device");
  if (slot != AB_SLOT_FROM_DLPACK && slot != AB_SLOT_FROM_HOST) return ab_fail(call, AB_UNSUPPORTED, "unknown slot");
  const int gpu = device.device_type == kDLCUDA;
  ab_capabilities found = {
      .struct_size = (uint32_t)sizeof found,
      // AB_READS_HOST_LATER is not set: on the CPU an operation is done when its call returns. (Who switches to
      // asynchronous execution, tf.config.experimental.set_synchronous_execution(False), has to wait himself.)
      .flags = AB_ACCEPTS_EMPTY | AB_ACCEPTS_ZERO_DIM | AB_MAKES_IMMUTABLE,
      .layout = AB_LAYOUT_C,
      .max_ndim = AB_MAX_NDIM,  // TensorFlow's own limit is 254
      .alignment = ALIGNMENT,
      .plugin_flags =
          AB_PLUGIN_UNVERSIONED_ONLY | AB_PLUGIN_DELETER_ANY_THREAD | (gpu ? AB_PLUGIN_RELEASES_BEFORE_DONE : 0u),
  };
  found.dtypes = ab_tf_dtypes(&found.dtype_count);
  if (gpu && slot == AB_SLOT_FROM_DLPACK) {
    while (found.dtype_count > 0) {  // float8, at the end of the list, is shared through NumPy, on the host
      tf_way way = TF_WAY_NONE;
      ab_tf_dtype_number(found.dtypes[found.dtype_count - 1], &way);
      if (way == TF_WAY_DLPACK) break;
      found.dtype_count--;
    }
  }
  ab_struct_fill(capabilities, &found, (uint32_t)sizeof found);
  return AB_OK;
}

static int is_c_layout(const DLTensor *tensor) {
  int64_t stride = 1;
  for (int32_t axis = tensor->ndim - 1; tensor->strides != NULL && axis >= 0; axis--) {
    if (tensor->shape[axis] == 0) return 1;
    if (tensor->shape[axis] != 1 && tensor->strides[axis] != stride) return 0;
    stride *= tensor->shape[axis];
  }
  return 1;
}

/// A second look: TensorFlow refuses some of this, and what it does not refuse kills the process.
static ab_status check_input(const ab_call *call, const DLTensor *tensor, tf_way *way) {
  if (ab_tf_dtype_number(tensor->dtype, way) == 0) {
    return ab_fail(call, AB_UNSUPPORTED, "TensorFlow does not have this dtype");
  }
  const int aligned = tensor->byte_offset == 0 && ((uintptr_t)tensor->data & (ALIGNMENT - 1)) == 0;
  if (!aligned && ab_tf_bytes(tensor) > 0) {
    return ab_fail(call, AB_UNSUPPORTED, "TensorFlow needs memory that is aligned to 64 bytes");
  }
  if (!is_c_layout(tensor)) return ab_fail(call, AB_UNSUPPORTED, "TensorFlow needs C order without gaps");
  return AB_OK;
}

/// TensorFlow waits for nothing: on a GPU the host waits for the producer.
static ab_status wait_for_input(const ab_call *call, DLDevice device) {
  if (call->stream == NULL || call->stream->kind == AB_STREAM_NONE || device.device_type == kDLCPU) return AB_OK;
  const ab_services *services = ab_tf.services;
  const ab_device_ops *ops = services->device_ops(services->core, (int32_t)device.device_type);
  if (ops == NULL || !AB_HAS_FIELD(ops, ab_device_ops, stream_finish) || ops->stream_finish == NULL) {
    return ab_fail(call, AB_UNSUPPORTED, "nobody can wait for the stream, and TensorFlow does not");
  }
  ab_call wait = *call;
  wait.self = ops->self;
  void *token = services->blocking_begin(services->core);
  const ab_status status = ops->stream_finish(&wait);
  services->blocking_end(services->core, token);
  call->report->flags |= AB_REPORT_BLOCKED_HOST;
  return status;
}

/* ------------------------------------------------------------------ from_dlpack */

static ab_status import_shared(const ab_call *call, DLManagedTensorVersioned *tensor, int32_t *consumed, void **array) {
  abpy_loan loan;
  ab_status status = abpy_loan_begin(ab_tf.services, call, tensor, 0, &loan);
  if (status != AB_OK) return status;
  PyObject *result = ab_tf_take(loan.capsule);
  abpy_loan_end(&loan, consumed);
  if (result == NULL) return abpy_error(call, AB_FRAMEWORK, "TensorFlow's from_dlpack");
  call->report->flags |= AB_REPORT_SHARED;
  *array = result;
  return AB_OK;
}

ab_status ab_tf_from_dlpack(const ab_call *call, DLManagedTensorVersioned *tensor, DLDevice device, int32_t *consumed,
                            void **array) {
  if (!AB_CALL_UNDERSTOOD(call, AB_CALL_NEVER_COPY)) return ab_fail(call, AB_UNSUPPORTED, "unknown call flags");
  ab_status status = ab_tf_connect(call);
  if (status != AB_OK) return status;
  tf_way way = TF_WAY_NONE;
  status = check_input(call, &tensor->dl_tensor, &way);
  if (status != AB_OK) return status;
  if (!ab_tf_has_device(device)) return ab_fail(call, AB_NO_DEVICE, "TensorFlow has no such device");
  status = wait_for_input(call, device);
  if (status != AB_OK) return status;
  if (way == TF_WAY_DLPACK) return import_shared(call, tensor, consumed, array);
  if (device.device_type != kDLCPU) return ab_fail(call, AB_UNSUPPORTED, "TensorFlow shares float8 only on the CPU");
  return ab_tf_float8_import(call, tensor, consumed, array);
}

/* ------------------------------------------------------------------ from_host */

/// A copy in memory of the core, which TensorFlow then shares: exact for every dtype, and eager inside tf.function,
/// too. tf.constant() would copy as well, through NumPy.
static ab_status import_copy(const ab_call *call, const DLTensor *tensor, void **array) {
  DLManagedTensorVersioned *copy = NULL;
  ab_status status = ab_tf_host_copy(call, tensor, &copy);
  if (status != AB_OK) return status;
  int32_t consumed = 0;
  status = ab_tf_from_dlpack(call, copy, (DLDevice){kDLCPU, 0}, &consumed, array);
  if (status != AB_OK && !consumed) copy->deleter(copy);
  call->report->flags &= ~(uint32_t)AB_REPORT_SHARED;  // with the copy, not with the source
  return status;
}

ab_status ab_tf_from_host(const ab_call *call, const DLTensor *tensor, DLDevice device, void **array) {
  if (!AB_CALL_UNDERSTOOD(call, AB_CALL_NEVER_COPY)) return ab_fail(call, AB_UNSUPPORTED, "unknown call flags");
  if ((call->flags & AB_CALL_NEVER_COPY) != 0) return ab_fail(call, AB_WOULD_COPY, "from_host copies");
  ab_status status = ab_tf_connect(call);
  if (status != AB_OK) return status;
  if (!ab_tf_has_device(device)) return ab_fail(call, AB_NO_DEVICE, "TensorFlow has no such device");
  void *host = NULL;
  status = import_copy(call, tensor, &host);
  if (status != AB_OK || device.device_type == kDLCPU) {
    if (status == AB_OK) *array = host;
    return status;
  }
  PyObject *moved = NULL;
  status = ab_tf_copy_to(call, host, device, &moved);
  Py_DECREF((PyObject *)host);
  if (status == AB_OK && call->stream != NULL) status = ab_tf_wait(call, device);  // work on other streams comes later
  if (status == AB_OK) *array = moved;
  if (status != AB_OK) Py_XDECREF(moved);
  return status;
}
