/* SPDX-License-Identifier: MIT */
#include "host_array.h"

#include "dtype.h"
#include "memory.h"
#include "tensor.h"

/* ------------------------------------------------------------------ life */

ab_status ab__host_array_new(DLManagedTensorVersioned *tensor, uint32_t mutability, ab__host_array **array) {
  ab__host_array *made = ab__allocate(sizeof *made);
  if (made == NULL) return AB_OOM;
  *made = (ab__host_array){.mutability = mutability, .view = tensor->dl_tensor, .tensor = tensor};
  atomic_init(&made->references, 1);
  *array = made;
  return AB_OK;
}

void ab__host_array_release(ab__host_array *array) {
  if (array == NULL || atomic_fetch_sub_explicit(&array->references, 1, memory_order_acq_rel) != 1) return;
  ab__tensor_delete(array->tensor);
  ab__deallocate(array);
}

static void drop(void *array) { ab__host_array_release(array); }

static ab__host_array *keeper_of(ab__host_array *array) { return array->whole != NULL ? array->whole : array; }

static void retain(void *self, void *array) {
  (void)self;
  atomic_fetch_add_explicit(&keeper_of(array)->references, 1, memory_order_relaxed);
}

static void release(void *self, void *array) {
  (void)self;
  ab__host_array_release(keeper_of(array));
}

/* ------------------------------------------------------------------ as a source */

static ab_status share(const ab_call *call, void *object, DLManagedTensorVersioned **tensor) {
  const ab__host_array *array = object;
  const DLTensor *view = &array->view;
  DLManagedTensorVersioned *made = NULL;
  retain(NULL, object);
  if (ab__tensor_new(NULL, view->ndim, 0, keeper_of(object), drop, &made) != AB_OK) {
    release(NULL, object);
    return ab_fail(call, AB_OOM, "no memory for the description of a tensor");
  }
  made->dl_tensor.data = view->data;
  made->dl_tensor.dtype = view->dtype;
  for (int32_t axis = 0; axis < view->ndim; axis++) {
    made->dl_tensor.shape[axis] = view->shape[axis];
    made->dl_tensor.strides[axis] = view->strides[axis];
  }
  *tensor = made;
  return AB_OK;
}

static ab_status describe(const ab_call *call, void *object, ab_array_info *info) {
  const ab__host_array *array = object;
  const DLTensor *view = &array->view;
  const int64_t itemsize = ab_dtype_size(view->dtype);
  info->flags = AB_INFO_HOST_ACCESSIBLE;
  info->dtype = view->dtype;
  info->device = (DLDevice){kDLCPU, 0};
  info->ndim = view->ndim;
  info->mutability = array->mutability;
  info->data = view->data;
  for (int32_t axis = 0; axis < view->ndim; axis++) {
    info->shape[axis] = view->shape[axis];
    info->strides[axis] = view->strides[axis] * itemsize;
  }
  const int wanted = (call->flags & AB_CALL_WANT_TENSOR) != 0 && view->data != NULL;
  return wanted ? share(call, object, &info->tensor) : AB_OK;
}

/* ------------------------------------------------------------------ as a target: everything the host can hold */

static const DLDataType all[AB__DTYPE_COUNT] = {
#define ROW(NAME, text, code, bits, log2_bytes, kind, safe) {(uint8_t)(code), (bits), 1},
    AB__DTYPE_MAP(ROW)
#undef ROW
};

static ab_status capabilities(const ab_call *call, DLDevice device, uint32_t slot, ab_capabilities *stated) {
  if (device.device_type != kDLCPU || device.device_id != 0 || slot != AB_SLOT_FROM_DLPACK)
    return ab_fail(call, AB_UNSUPPORTED, "the host shares its own memory only");
  const ab_capabilities found = {
      .struct_size = (uint32_t)sizeof found,
      .flags = AB_ACCEPTS_BYTE_OFFSET | AB_ACCEPTS_EMPTY | AB_ACCEPTS_ZERO_DIM | AB_CARRIES_READ_ONLY,
      .dtypes = all,
      .dtype_count = AB__DTYPE_COUNT,
      .layout = AB_LAYOUT_ANY,
      .max_ndim = AB_MAX_NDIM,
      .alignment = 1,
  };
  ab_struct_fill(stated, &found, (uint32_t)sizeof found);
  return AB_OK;
}

static ab_status take(const ab_call *call, DLManagedTensorVersioned *tensor, DLDevice device, int32_t *consumed,
                      void **array) {
  (void)device;
  (void)consumed;
  const uint32_t mutability = tensor->flags & DLPACK_FLAG_BITMASK_READ_ONLY ? AB_READ_ONLY : AB_MUTABLE;
  ab__host_array *made = NULL;
  if (ab__host_array_new(tensor, mutability, &made) != AB_OK) return ab_fail(call, AB_OOM, "no memory for an array");
  *array = made;
  return AB_OK;
}

static int32_t recognizes(void *self, void *object, int32_t *holds_for_type) {
  (void)self;
  (void)object;
  (void)holds_for_type;
  return 0; /* nobody else has one */
}

/* ------------------------------------------------------------------ the backend */

static const ab_plugin_descriptor descriptor = {.struct_size = (uint32_t)sizeof descriptor,
                                                .abi_major = AB_ABI_MAJOR,
                                                .abi_minor = AB_ABI_MINOR,
                                                .name = "host",
                                                .version = AB_VERSION,
                                                .licence = "MIT",
                                                .runtime = AB_RUNTIME_NONE,
                                                .lock = AB_LOCK_NONE,
                                                .runtime_abi = ""};

void ab__host_begin(ab__host *host, ab_bridge *bridge) {
  memset(host, 0, sizeof *host);
  ab_backend *backend = &host->backend;
  backend->descriptor = &descriptor;
  backend->bridge = bridge;
  backend->slots = (ab_plugin_vtable){.struct_size = (uint32_t)sizeof backend->slots,
                                      .to_dlpack = share,
                                      .from_dlpack = take,
                                      .recognizes = recognizes,
                                      .describe = describe,
                                      .capabilities = capabilities,
                                      .retain = retain,
                                      .release = release};
  backend->vtable = &backend->slots;
  atomic_init(&backend->started, 1);
  pthread_mutex_init(&backend->ability_lock, NULL);
}

void ab__host_end(ab__host *host) {
  ab__ability *ability = atomic_load_explicit(&host->backend.abilities, memory_order_relaxed);
  while (ability != NULL) {
    ab__ability *next = ability->next;
    ab__deallocate(ability);
    ability = next;
  }
  pthread_mutex_destroy(&host->backend.ability_lock);
}

ab_status ab__host_read(ab__host *host, const ab_array *source, const ab_convert_options *options,
                        ab__host_array **array, ab_error *error) {
  const ab_convert_options plain = {.struct_size = (uint32_t)sizeof plain,
                                    .flags = options->flags & (AB_CONVERT_LOCK_HELD | AB_CONVERT_NO_RECOVERY),
                                    .threads = options->threads,
                                    .max_retries = options->max_retries};
  ab_array made = {0};
  const ab_status status = ab_convert(host->backend.bridge, source, &host->backend, &plain, &made, error);
  if (status == AB_OK) *array = made.object;
  return status;
}
