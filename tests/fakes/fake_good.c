/* SPDX-License-Identifier: MIT
 * A whole plugin without a language: a little array of its own on the host. The other fakes are this one, broken. */
#include <arraybridge/plugin.h>

#include "fake_array.h"

static const ab_services *services; /* one process, one create() */

/// How often create() was called: a test looks it up in the open file.
extern AB_EXPORT int fake_create_calls;
int fake_create_calls;
/// Arrays that are alive.
extern AB_EXPORT atomic_int fake_live_arrays;
atomic_int fake_live_arrays;

#define BITS(code, bits) \
  { (code), (bits), 1 }
static const DLDataType dtypes[] = {
    BITS(kDLBool, 8),   BITS(kDLUInt, 8),   BITS(kDLUInt, 16),   BITS(kDLUInt, 32),    BITS(kDLUInt, 64),
    BITS(kDLInt, 8),    BITS(kDLInt, 16),   BITS(kDLInt, 32),    BITS(kDLInt, 64),     BITS(kDLFloat, 16),
    BITS(kDLFloat, 32), BITS(kDLFloat, 64), BITS(kDLBfloat, 16), BITS(kDLComplex, 64), BITS(kDLComplex, 128),
};

static int32_t recognizes(void *self, void *object, int32_t *holds_for_type) {
  (void)self, (void)holds_for_type;  // without a language there are no types to remember
  return object != NULL && ((const fake_array *)object)->magic == FAKE_MAGIC;
}

static void retain(void *self, void *array) {
  (void)self;
  atomic_fetch_add(&((fake_array *)array)->references, 1);
}

static void array_free(fake_array *array) {
  if (array->source != NULL && array->source->deleter != NULL) array->source->deleter(array->source);
  services->deallocate(services->core, array->own);
  array->magic = 0;
  services->deallocate(services->core, array);
  atomic_fetch_sub(&fake_live_arrays, 1);
}

static void release(void *self, void *array) {
  (void)self;
  if (atomic_fetch_sub(&((fake_array *)array)->references, 1) == 1) array_free(array);
}

static void drop(void *array) { release(NULL, array); }

static fake_array *array_new(const DLTensor *like) {
  fake_array *array = services->allocate(services->core, sizeof *array);
  if (array == NULL) return NULL;
  memset(array, 0, sizeof *array);
  array->magic = FAKE_MAGIC;
  atomic_init(&array->references, 1);
  array->dtype = like->dtype;
  array->ndim = like->ndim;
  int64_t stride = 1;
  for (int32_t axis = like->ndim - 1; axis >= 0; axis--) {
    array->shape[axis] = like->shape[axis];
    array->strides[axis] = stride;
    stride *= like->shape[axis];
  }
  atomic_fetch_add(&fake_live_arrays, 1);
  return array;
}

static uint64_t bytes_of(const fake_array *array) {
  uint64_t count = 1;
  for (int32_t axis = 0; axis < array->ndim; axis++) count *= (uint64_t)array->shape[axis];
  return count * (array->dtype.bits / 8);
}

static ab_status describe(const ab_call *call, void *object, ab_array_info *info) {
  (void)call;
  const fake_array *array = object;
  info->flags = AB_INFO_HOST_ACCESSIBLE;
  info->dtype = array->dtype;
  info->device = (DLDevice){kDLCPU, 0};
  info->ndim = array->ndim;
  info->mutability = array->read_only ? AB_READ_ONLY : AB_MUTABLE;
  info->data = bytes_of(array) != 0 ? array->data : NULL;
  for (int32_t axis = 0; axis < array->ndim; axis++) {
    info->shape[axis] = array->shape[axis];
    info->strides[axis] = array->strides[axis] * (array->dtype.bits / 8);
  }
  return AB_OK;
}

static ab_status capabilities(const ab_call *call, DLDevice device, uint32_t slot, ab_capabilities *capabilities) {
  (void)slot;
  if (device.device_type != kDLCPU || device.device_id != 0)
    return ab_fail(call, AB_UNSUPPORTED, "fake_good has arrays on the host only");
  capabilities->flags = AB_ACCEPTS_BYTE_OFFSET | AB_ACCEPTS_EMPTY | AB_ACCEPTS_ZERO_DIM | AB_CARRIES_READ_ONLY;
  capabilities->dtypes = dtypes;
  capabilities->dtype_count = sizeof dtypes / sizeof dtypes[0];
  capabilities->layout = AB_LAYOUT_ANY;
  capabilities->max_ndim = AB_MAX_NDIM;
  capabilities->alignment = 1;
  return AB_OK;
}

static ab_status to_dlpack(const ab_call *call, void *object, DLManagedTensorVersioned **tensor) {
  if (!AB_CALL_UNDERSTOOD(call, AB_CALL_NEVER_COPY)) return ab_fail(call, AB_UNSUPPORTED, "unknown flag of a call");
  fake_array *array = object;
  DLManagedTensorVersioned *made;
  const ab_status status = services->tensor_new(services->core, array->ndim, 0, array, drop, &made);
  if (status != AB_OK) return ab_fail(call, status, "no tensor for an array of %d dimensions", (int)array->ndim);
  retain(NULL, array);
  made->flags = array->read_only ? DLPACK_FLAG_BITMASK_READ_ONLY : 0;
  made->dl_tensor.data = array->data;
  made->dl_tensor.dtype = array->dtype;
  for (int32_t axis = 0; axis < array->ndim; axis++) {
    made->dl_tensor.shape[axis] = array->shape[axis];
    made->dl_tensor.strides[axis] = array->strides[axis];
  }
  call->report->flags |= AB_REPORT_SHARED;
  *tensor = made;
  return AB_OK;
}

static ab_status from_dlpack(const ab_call *call, DLManagedTensorVersioned *tensor, DLDevice device, int32_t *consumed,
                             void **result) {
  (void)device, (void)consumed;
  if (!AB_CALL_UNDERSTOOD(call, AB_CALL_NEVER_COPY)) return ab_fail(call, AB_UNSUPPORTED, "unknown flag of a call");
  const DLTensor *given = &tensor->dl_tensor;
  fake_array *array = array_new(given);
  if (array == NULL) return ab_fail(call, AB_OOM, "no memory for a fake array");
  for (int32_t axis = 0; axis < given->ndim; axis++) array->strides[axis] = given->strides[axis];
  array->read_only = (tensor->flags & DLPACK_FLAG_BITMASK_READ_ONLY) != 0;
  array->data = given->data != NULL ? (char *)given->data + given->byte_offset : NULL;
  array->source = tensor;
  call->report->flags |= AB_REPORT_SHARED;
  *result = array;
  return AB_OK;
}

static ab_status from_host(const ab_call *call, const DLTensor *tensor, DLDevice device, void **result) {
  (void)device;
  fake_array *array = array_new(tensor);
  if (array == NULL) return ab_fail(call, AB_OOM, "no memory for a fake array");
  const uint64_t bytes = bytes_of(array);
  array->own = services->allocate(services->core, bytes);
  if (array->own == NULL) {
    array_free(array);
    return ab_fail(call, AB_OOM, "no memory for the %llu bytes of a fake array", (unsigned long long)bytes);
  }
  array->data = array->own;
  if (bytes != 0) memcpy(array->own, (const char *)tensor->data + tensor->byte_offset, bytes);
  call->report->flags |= AB_REPORT_COPIED;
  call->report->bytes_copied += bytes;
  *result = array;
  return AB_OK;
}

static const ab_plugin_vtable slots = {
    .struct_size = sizeof slots,
    .to_dlpack = to_dlpack,
    .from_dlpack = from_dlpack,
    .to_host = to_dlpack,  // its memory is the host's
    .from_host = from_host,
    .recognizes = recognizes,
    .describe = describe,
    .capabilities = capabilities,
    .retain = retain,
    .release = release,
};

static ab_status create(const ab_services *offered, ab_plugin *plugin, ab_error *error) {
  (void)error;
  services = offered;
  fake_create_calls++;
  void *memory = services->allocate(services->core, 64);
  services->deallocate(services->core, memory);
  services->log(services->core, AB_LOG_INFO, "fake_good: create()");
  plugin->vtable = &slots;
  return AB_OK;
}

AB_PLUGIN_DEFINE = {
    .struct_size = sizeof(ab_plugin_descriptor),
    .abi_major = AB_ABI_MAJOR,
    .abi_minor = AB_ABI_MINOR,
    .name = "fake_good",
    .version = "1.2.3",
    .licence = "MIT",
    .runtime = AB_RUNTIME_NONE,
    .lock = AB_LOCK_NONE,
    .runtime_abi = "",
    .flags = AB_PLUGIN_DELETER_ANY_THREAD | AB_PLUGIN_DELETER_IN_CALLBACK,
    .create = create,
};
