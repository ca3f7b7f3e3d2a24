/* SPDX-License-Identifier: MIT
 * Host memory for copies, and out-of-memory. */
#include "tensorflow_plugin.h"

/* ------------------------------------------------------------------ copies on the host */

uint64_t ab_tf_bytes(const DLTensor *tensor) {
  uint64_t bytes = ((uint64_t)tensor->dtype.bits * tensor->dtype.lanes + 7) / 8;
  for (int32_t axis = 0; axis < tensor->ndim; axis++) {
    if (tensor->shape[axis] == 0) return 0;
  }
  for (int32_t axis = 0; axis < tensor->ndim; axis++) {
    if (tensor->shape[axis] < 0 || bytes > (uint64_t)INT64_MAX / (uint64_t)tensor->shape[axis]) return UINT64_MAX;
    bytes *= (uint64_t)tensor->shape[axis];
  }
  return bytes;
}

static void drop_memory(void *memory) { ab_tf.services->deallocate(ab_tf.services->core, memory); }

static void copy_bytes(void *to, const void *from, uint64_t bytes) {
  enum { LONG_COPY = 1 << 18 };  // bytes; below, letting go of the lock costs more than the copy
  if (bytes == 0) return;
  const ab_services *services = ab_tf.services;
  void *token = bytes >= LONG_COPY ? services->blocking_begin(services->core) : NULL;
  memcpy(to, from, (size_t)bytes);
  if (bytes >= LONG_COPY) services->blocking_end(services->core, token);
}

ab_status ab_tf_host_copy(const ab_call *call, const DLTensor *source, DLManagedTensorVersioned **copy) {
  const ab_services *services = ab_tf.services;
  const uint64_t bytes = ab_tf_bytes(source);
  if (bytes == UINT64_MAX) return ab_fail(call, AB_INVALID_TENSOR, "a shape whose size overflows");
  void *memory = services->allocate(services->core, bytes > 0 ? bytes : 1);
  if (memory == NULL) return ab_fail(call, AB_OOM, "no memory for a copy of %llu bytes", (unsigned long long)bytes);
  DLManagedTensorVersioned *tensor = NULL;
  const ab_status status = services->tensor_new(services->core, source->ndim, 0, memory, drop_memory, &tensor);
  if (status != AB_OK) {
    drop_memory(memory);
    return ab_fail(call, status, "no memory for a tensor");
  }
  DLTensor *view = &tensor->dl_tensor;
  view->data = memory;
  view->device = (DLDevice){kDLCPU, 0};
  view->dtype = source->dtype;
  int64_t stride = 1;
  for (int32_t axis = source->ndim - 1; axis >= 0; axis--) {
    view->shape[axis] = source->shape[axis];
    view->strides[axis] = stride;
    stride *= source->shape[axis] > 0 ? source->shape[axis] : 1;
  }
  copy_bytes(memory, bytes > 0 ? (const char *)source->data + source->byte_offset : NULL, bytes);
  call->report->flags |= AB_REPORT_COPIED;
  call->report->bytes_copied += bytes;
  *copy = tensor;
  return AB_OK;
}

/* ------------------------------------------------------------------ out of memory */

ab_status ab_tf_is_oom(void *self, const ab_failure *failure) {
  (void)self;
  static const char errors[] = "tensorflow.python.framework.errors_impl";
  static const char exhausted[] = "ResourceExhaustedError", internal[] = "InternalError";
  // ResourceExhaustedError is also raised for quotas and message sizes: the text decides. It may begin with
  // "{{function_node …}} ".
  static const abpy_signature signatures[] = {
      {errors, exhausted, NULL, "OOM when allocating tensor", AB_OOM},
      {errors, exhausted, NULL, "failed to allocate memory", AB_OOM},
      {errors, exhausted, NULL, "Out of memory while trying to allocate", AB_OOM},
      {errors, internal, NULL, "CUDA_ERROR_OUT_OF_MEMORY", AB_OOM},
      // what a failed copy to a full GPU says
      {errors, internal, NULL, "Dst tensor is not initialized", AB_OOM},
  };
  return abpy_match_failure(failure, signatures, sizeof signatures / sizeof signatures[0]);
}

ab_status ab_tf_clear_cache(const ab_call *call, DLDevice device, uint32_t flags, uint64_t *to_driver,
                            uint64_t *to_pool) {
  (void)device, (void)flags, (void)to_driver, (void)to_pool;
  return ab_fail(call, AB_UNSUPPORTED, "TensorFlow returns memory only when the process ends");
}

/// A number out of the dict of get_memory_info(); UINT64_MAX if it is not there.
static uint64_t number_in(PyObject *info, const char *key) {
  PyObject *number = PyMapping_GetItemString(info, key);
  const long long value = number != NULL ? PyLong_AsLongLong(number) : -1;
  abpy_clear();
  Py_XDECREF(number);
  return value >= 0 ? (uint64_t)value : UINT64_MAX;
}

static ab_status gpu_memory_info(const ab_call *call, DLDevice device, ab_memory_info *info) {
  PyObject *experimental = abpy_attribute(ab_tf.tensorflow, "config.experimental");
  if (experimental == NULL) return ab_fail(call, AB_UNSUPPORTED, "this TensorFlow has no tf.config.experimental");
  char name[32];
  snprintf(name, sizeof name, "GPU:%d", (int)device.device_id);
  PyObject *found = PyObject_CallMethod(experimental, "get_memory_info", "s", name);
  Py_DECREF(experimental);
  if (found == NULL) return abpy_error(call, AB_FRAMEWORK, "tf.config.experimental.get_memory_info");
  info->in_use = number_in(found, "current");
  snprintf(info->detail, sizeof info->detail, "TensorFlow does not say how much its pool keeps");
  Py_DECREF(found);
  return AB_OK;
}

ab_status ab_tf_memory_info(const ab_call *call, DLDevice device, ab_memory_info *info) {
  ab_status status = ab_tf_connect(call);
  if (status != AB_OK) return status;
  if (!ab_tf_has_device(device)) return ab_fail(call, AB_NO_DEVICE, "TensorFlow has no such device");
  ab_memory_info found = {
      .struct_size = (uint32_t)sizeof found, .in_use = UINT64_MAX, .cached = UINT64_MAX, .limit = UINT64_MAX};
  if (device.device_type == kDLCUDA) {
    status = gpu_memory_info(call, device, &found);
  } else {
    snprintf(found.detail, sizeof found.detail,
             "TensorFlow counts memory on GPUs only; its CPU pool keeps what it took");
  }
  if (status == AB_OK) ab_struct_fill(info, &found, (uint32_t)sizeof found);
  return status;
}
