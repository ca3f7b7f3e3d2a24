/* SPDX-License-Identifier: MIT
 *
 * Host memory as a buffer of the framework's context, and reading a buffer.
 *
 * Who keeps what: the cl_mem holds the host tensor (given up by the destructor callback, when the driver has let go of
 * the memory); the wrapped tensor holds one reference to the cl_mem. pyclesperanto adds no reference of its own: it
 * keeps the tensor until the last array made of it is gone, waits for its queue, then runs the deleter.
 */
#include "device/opencl_internal.h"

#ifdef AB__HAS_OPENCL

#include "memory.h"
#include "tensor.h"

/* Lives as long as the buffer: the destructor callback gives it up. */
typedef struct tenure {
  DLManagedTensorVersioned *host;
  const void *begin;  // of the claimed range
  cl_mem buffer;      // NULL until it is made
} tenure;

static void CL_CALLBACK tenure_end(cl_mem buffer, void *data) {
  (void)buffer;
  if (ab__cl_gone()) return;  // a leak on purpose
  tenure *self = data;
  ab__cl_callback_enter();
  ab__cl_range_drop(self->begin);
  ab__tensor_delete(self->host);
  ab__deallocate(self);
  ab__cl_callback_leave();
}

/* The wrapped tensor's end. Releasing the last reference runs tenure_end(), here or on a thread of the driver. */
static void release_buffer(void *owner) {
  const tenure *self = owner;
  if (self->buffer != NULL && !ab__cl_gone()) ab__cl.clReleaseMemObject(self->buffer);
}

/* ------------------------------------------------------------------ what can be wrapped */

static int is_compact(const DLTensor *tensor) {
  if (tensor->strides == NULL) return 1;
  int64_t step = 1;
  for (int32_t axis = tensor->ndim - 1; axis >= 0; axis--) {
    if (tensor->shape[axis] != 1 && tensor->strides[axis] != step) return 0;
    step *= tensor->shape[axis];  // no overflow: the caller has computed the product of all
  }
  return 1;
}

static uint32_t itemsize_of(const DLTensor *tensor) {
  return ((uint32_t)tensor->dtype.bits * tensor->dtype.lanes + 7) / 8;
}

static ab_status check_host(const DLManagedTensorVersioned *host, uint64_t *bytes, ab_error *error) {
  const DLTensor *tensor = &host->dl_tensor;
  if (tensor->device.device_type != kDLCPU)
    return ab_error_set(error, AB_UNSUPPORTED, "only host memory can become an OpenCL buffer, not device type %d",
                        (int)tensor->device.device_type);
  if ((host->flags & DLPACK_FLAG_BITMASK_READ_ONLY) != 0)
    return ab_error_set(error, AB_UNSUPPORTED, "the memory is read-only, and an OpenCL kernel could write to it");
  if (!ab__tensor_bytes(tensor->ndim, tensor->shape, itemsize_of(tensor), bytes))
    return ab_error_set(error, AB_INVALID_TENSOR, "the tensor's extents are negative or overflow");
  if (*bytes == 0 || tensor->data == NULL) return ab_error_set(error, AB_UNSUPPORTED, "OpenCL has no empty buffers");
  if (!is_compact(tensor)) return ab_error_set(error, AB_UNSUPPORTED, "an OpenCL buffer must be C-contiguous");
  return AB_OK;
}

static ab_status check_place(const ab__cl_context *record, uintptr_t begin, uint32_t itemsize, uint64_t bytes,
                             ab_error *error) {
  const uint64_t alignment = record->alignment > itemsize ? record->alignment : itemsize;
  if (bytes > record->max_bytes || bytes > SIZE_MAX)
    return ab_error_set(error, AB_UNSUPPORTED,
                        "%llu bytes are more than one buffer of this OpenCL device can hold (%llu)",
                        (unsigned long long)bytes, (unsigned long long)record->max_bytes);
  if (begin % alignment != 0)
    return ab_error_set(error, AB_UNSUPPORTED,
                        "the address %#llx is not aligned to %llu bytes, as this OpenCL device asks",
                        (unsigned long long)begin, (unsigned long long)alignment);
  if (bytes % record->granularity != 0)
    return ab_error_set(error, AB_UNSUPPORTED, "%llu bytes are no multiple of %llu, as this OpenCL device asks",
                        (unsigned long long)bytes, (unsigned long long)record->granularity);
  return AB_OK;
}

static ab_status taken(const void *begin, ab_error *error) {
  return ab_error_set(error, AB_UNSUPPORTED, "part of the memory at %p is an OpenCL buffer already", begin);
}

static ab_status claim(const void *begin, uint64_t bytes, ab_error *error) {
  const ab_status status = ab__cl_range_claim(begin, bytes);
  if (status == AB_UNSUPPORTED) return taken(begin, error);
  if (status == AB_OOM) ab_error_set(error, status, "no memory for the list of OpenCL buffers");
  return status;
}

/* ------------------------------------------------------------------ wrapping */

static ab_status create_buffer(const ab__cl_context *record, tenure *owner, uint64_t bytes, ab_error *error) {
  cl_int code = CL_SUCCESS;
  cl_mem buffer = ab__cl.clCreateBuffer(record->context, CL_MEM_READ_WRITE | CL_MEM_USE_HOST_PTR, (size_t)bytes,
                                        (void *)(uintptr_t)owner->begin, &code);
  if (buffer == NULL) return ab__cl_failed(error, code, "clCreateBuffer");
  code = ab__cl.clSetMemObjectDestructorCallback(buffer, tenure_end, owner);
  if (code == CL_SUCCESS) {
    owner->buffer = buffer;
    return AB_OK;
  }
  ab__cl.clReleaseMemObject(buffer);
  return ab__cl_failed(error, code, "clSetMemObjectDestructorCallback");
}

static void describe(const DLTensor *from, DLDevice device, cl_mem buffer, DLTensor *to) {
  to->data = buffer;
  to->device = device;
  to->dtype = from->dtype;
  int64_t step = 1;
  for (int32_t axis = from->ndim - 1; axis >= 0; axis--) {
    to->shape[axis] = from->shape[axis];
    to->strides[axis] = step;  // never NULL: pyclesperanto 0.25 dereferences it
    step *= from->shape[axis];
  }
}

/* Making the buffer is the last thing that can fail, so that `host` is taken only on success. */
static ab_status wrap(const ab__cl_context *record, DLDevice device, DLManagedTensorVersioned *host, uint64_t bytes,
                      DLManagedTensorVersioned **wrapped, ab_error *error) {
  const DLTensor *from = &host->dl_tensor;
  DLManagedTensorVersioned *tensor = NULL;
  tenure *owner = ab__allocate_zeroed(sizeof *owner);
  if (owner == NULL) return ab_error_set(error, AB_OOM, "no memory for the record of an OpenCL buffer");
  owner->host = host;
  owner->begin = (const unsigned char *)from->data + from->byte_offset;
  ab_status status = claim(owner->begin, bytes, error);
  if (status != AB_OK) goto failed;
  status = ab__tensor_new(NULL, from->ndim, 0, owner, release_buffer, &tensor);
  if (status == AB_OK) status = create_buffer(record, owner, bytes, error);
  else ab_error_set(error, status, "no memory for a tensor");
  if (status != AB_OK) goto unclaim;
  describe(from, device, owner->buffer, &tensor->dl_tensor);
  *wrapped = tensor;
  return AB_OK;

unclaim:
  ab__tensor_delete(tensor);
  ab__cl_range_drop(owner->begin);
failed:
  ab__deallocate(owner);
  return status;
}

ab_status ab__opencl_wrap(void *cl_context_, void *cl_device, DLDevice device, DLManagedTensorVersioned *host,
                          DLManagedTensorVersioned **wrapped, ab_error *error) {
  uint64_t bytes = 0;
  ab__cl_context *record = NULL;
  ab_status status = ab__cl_open(error);
  if (status != AB_OK) return status;
  ab__cl_pay();
  status = check_host(host, &bytes, error);
  if (status == AB_OK) status = ab__cl_context_get(cl_context_, cl_device, &record, error);
  if (status == AB_OK) status = ab__cl_context_coherent(record, error);
  const DLTensor *tensor = &host->dl_tensor;
  const uintptr_t begin = (uintptr_t)tensor->data + tensor->byte_offset;
  if (status == AB_OK) status = check_place(record, begin, itemsize_of(tensor), bytes, error);
  if (status == AB_OK) status = wrap(record, device, host, bytes, wrapped, error);
  return status;
}

ab_status ab__opencl_can_wrap(void *cl_context_, void *cl_device, const void *data, uint32_t itemsize, uint64_t bytes,
                              ab_error *error) {
  ab__cl_context *record = NULL;
  ab_status status = ab__cl_open(error);
  if (status == AB_OK) status = ab__cl_context_get(cl_context_, cl_device, &record, error);
  if (status == AB_OK) status = ab__cl_context_coherent(record, error);
  if (status == AB_OK) status = check_place(record, (uintptr_t)data, itemsize, bytes, error);
  if (status == AB_OK && ab__cl_range_taken(data, bytes)) status = taken(data, error);
  return status;
}

ab_status ab__opencl_sharing(void *cl_context_, void *cl_device, ab__opencl_limits *limits, ab_error *error) {
  ab__cl_context *record = NULL;
  ab_status status = ab__cl_open(error);
  if (status != AB_OK) return status;
  ab__cl_pay();
  status = ab__cl_context_get(cl_context_, cl_device, &record, error);
  if (status == AB_OK) status = ab__cl_context_coherent(record, error);
  if (status != AB_OK) return status;
  *limits = (ab__opencl_limits){record->alignment, record->granularity, record->max_bytes};
  return AB_OK;
}

/* ------------------------------------------------------------------ reading */

ab_status ab__opencl_read(DLManagedTensorVersioned *device_tensor, void *host_destination, uint64_t bytes,
                          ab_error *error) {
  const DLTensor *tensor = &device_tensor->dl_tensor;
  ab__cl_context *record = NULL;
  ab_status status = ab__cl_open(error);
  if (status != AB_OK) return status;
  ab__cl_pay();
  if (tensor->device.device_type != kDLOpenCL)
    return ab_error_set(error, AB_UNSUPPORTED, "not an OpenCL tensor: device type %d", (int)tensor->device.device_type);
  if (bytes == 0) return AB_OK;
  if (tensor->data == NULL || bytes > SIZE_MAX)
    return ab_error_set(error, AB_INVALID_TENSOR, "the OpenCL tensor has no buffer");
  status = ab__cl_context_of(tensor->data, &record, error);
  if (status != AB_OK) return status;
  const cl_int code = ab__cl.clEnqueueReadBuffer(record->queue, tensor->data, CL_TRUE, (size_t)tensor->byte_offset,
                                                 (size_t)bytes, host_destination, 0, NULL, NULL);
  return code == CL_SUCCESS ? AB_OK : ab__cl_failed(error, code, "clEnqueueReadBuffer");
}

#endif /* AB__HAS_OPENCL */
