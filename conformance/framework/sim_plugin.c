/* SPDX-License-Identifier: MIT
 * The plugin of a simulated framework. */
#include <stdio.h>

#include "sim_framework.h"

const ab_services *sim_services;

static const DLDataType words = {kDLUInt, 32, 1};

static int on_device(DLDevice device) {
  return device.device_type == kDLCUDA && device.device_id >= 0 && device.device_id < sim_devices;
}

/* ------------------------------------------------------------------ arrays */

static int32_t recognizes(void *self, void *object, int32_t *holds_for_type) {
  (void)self;
  (void)object;
  (void)holds_for_type;
  return 0;
}

static ab_status describe(const ab_call *call, void *object, ab_array_info *info) {
  (void)call;
  const sim_array *array = object;
  info->dtype = words;
  info->device = (DLDevice){kDLCUDA, array->device};
  info->ndim = 1;
  info->shape[0] = array->elements;
  info->strides[0] = sizeof(uint32_t);
  info->mutability = SIM_ORDERED ? AB_IMMUTABLE : AB_MUTABLE;
  memcpy(info->device_uuid, sim_uuids[array->device], sizeof info->device_uuid);
  return AB_OK;
}

static void retain(void *self, void *object) {
  (void)self;
  atomic_fetch_add(&((sim_array *)object)->references, 1);
}

static void release(void *self, void *object) {
  (void)self;
  sim_array_drop(object);
}

static ab_status capabilities(const ab_call *call, DLDevice device, uint32_t slot, ab_capabilities *capabilities) {
  (void)slot;
  if (!on_device(device)) return ab_fail(call, AB_UNSUPPORTED, SIM_NAME " has arrays on simulated devices only");
  const ab_capabilities can = {.struct_size = sizeof can,
                               .dtypes = &words,
                               .dtype_count = 1,
                               .layout = AB_LAYOUT_C,
                               .max_ndim = 1,
                               .min_ndim = 1};
  ab_struct_fill(capabilities, &can, sizeof can);
  return AB_OK;
}

/* ------------------------------------------------------------------ exchange */

static void order_before(const ab_call *call, const sim_array *array) {
  if (call->flags & AB_CALL_ORDERED) return;
  CUstream own = sim_current(array->device);
  sim_enter(array->device);
  if (call->stream == NULL) cuStreamSynchronize(own);
  else sim_order(own, sim_handle_of(call->stream));
  sim_leave();
}

static void drop_array(void *owner) { sim_array_drop(owner); }

static ab_status share(const ab_call *call, sim_array *array, DLManagedTensorVersioned **tensor) {
  const ab_status status = sim_services->tensor_new(sim_services->core, 1, 0, array, drop_array, tensor);
  if (status != AB_OK) return status;
  atomic_fetch_add(&array->references, 1);
  DLTensor *t = &(*tensor)->dl_tensor;
  t->data = (void *)(uintptr_t)array->address;
  t->device = (DLDevice){kDLCUDA, array->device};
  t->dtype = words;
  t->shape[0] = array->elements;
  t->strides[0] = 1;
  call->report->flags |= AB_REPORT_SHARED;
  return AB_OK;
}

static ab_status to_dlpack(const ab_call *call, void *object, DLManagedTensorVersioned **tensor) {
  order_before(call, object);
  return share(call, object, tensor);
}

static ab_status from_dlpack(const ab_call *call, DLManagedTensorVersioned *tensor, DLDevice device, int32_t *consumed,
                             void **object) {
  (void)consumed;
  if (!on_device(device)) return ab_fail(call, AB_NO_DEVICE, SIM_NAME " has no device %d", (int)device.device_id);
#if SIM_ORDERED
  if (call->stream == NULL || call->stream->handle != (void *)sim_ready(device.device_id))
    return ab_fail(call, AB_STREAM, SIM_NAME " takes one stream only");
  sim_enter(device.device_id);
  sim_order(sim_ready(device.device_id), sim_current(device.device_id));
  sim_leave();
#endif
  sim_array *array = sim_array_borrow(device.device_id, tensor);
  /* Ready on that stream, and nowhere else. */
  if (!SIM_ORDERED && call->stream != NULL && !sim_entered(device.device_id))
    array->used_on = sim_handle_of(call->stream);
  *object = array;
  return AB_OK;
}

static void free_words(void *owner) { free(owner); }

static ab_status to_host(const ab_call *call, void *object, DLManagedTensorVersioned **tensor) {
  const sim_array *array = object;
  const size_t bytes = array->elements * sizeof(uint32_t);
  void *values = malloc(bytes != 0 ? bytes : 1);
  if (values == NULL) return ab_fail(call, AB_OOM, "no host memory");
  sim_enter(array->device);
  cuStreamSynchronize(sim_current(array->device));
  const CUresult result = cuMemcpyDtoH(values, array->address, bytes);
  sim_leave();
  if (result != CUDA_SUCCESS) {
    free(values);
    return ab_fail(call, AB_DRIVER, "cuMemcpyDtoH: %d", (int)result);
  }
  const ab_status status = sim_services->tensor_new(sim_services->core, 1, 0, values, free_words, tensor);
  if (status != AB_OK) {
    free(values);
    return status;
  }
  DLTensor *t = &(*tensor)->dl_tensor;
  t->data = values;
  t->device = (DLDevice){kDLCPU, 0};
  t->dtype = words;
  t->shape[0] = array->elements;
  t->strides[0] = 1;
  call->report->flags |= AB_REPORT_COPIED | AB_REPORT_BLOCKED_HOST;
  call->report->bytes_copied += bytes;
  return AB_OK;
}

static ab_status from_host(const ab_call *call, const DLTensor *tensor, DLDevice device, void **object) {
  if (!on_device(device)) return ab_fail(call, AB_NO_DEVICE, SIM_NAME " has no device %d", (int)device.device_id);
  sim_array *array = sim_array_new(device.device_id, (uint32_t)tensor->shape[0]);
  if (array == NULL) return ab_fail(call, AB_OOM, SIM_NAME ": out of memory");
  sim_enter(device.device_id);
  cuStreamSynchronize(sim_current(device.device_id));
  const CUresult result = cuMemcpyHtoD(array->address, tensor->data, array->elements * sizeof(uint32_t));
  sim_leave();
  if (result != CUDA_SUCCESS) {
    sim_array_drop(array);
    return ab_fail(call, AB_DRIVER, "cuMemcpyHtoD: %d", (int)result);
  }
  *object = array;
  return AB_OK;
}

/* Ordered on the framework's own stream alone, as torch's and CuPy's: the memory may be of a block that work there has
 * not let go of yet. */
static ab_status empty(const ab_call *call, const DLTensor *like, DLDevice device, void **object,
                       DLManagedTensorVersioned **writable) {
  if (SIM_ORDERED) return ab_fail(call, AB_UNSUPPORTED, SIM_NAME " has no arrays that can be written");
  if (!on_device(device)) return ab_fail(call, AB_NO_DEVICE, SIM_NAME " has no device %d", (int)device.device_id);
  sim_array *array = sim_array_new(device.device_id, (uint32_t)like->shape[0]);
  if (array == NULL) return ab_fail(call, AB_OOM, SIM_NAME ": out of memory");
  const ab_status status = share(call, array, writable);
  if (status == AB_OK) *object = array;
  else sim_array_drop(array);
  return status;
}

/* ------------------------------------------------------------------ devices and streams */

static ab_status devices(const ab_call *call, ab_device_visitor visit, void *context) {
  (void)call;
  for (int device = 0; device < sim_devices; device++) {
    ab_device_info info = {.struct_size = sizeof info, .device = {kDLCUDA, device}, .name = "simulated"};
    info.flags = device == sim_thread_device() ? AB_DEVICE_DEFAULT : 0;
    memcpy(info.uuid, sim_uuids[device], sizeof info.uuid);
    if (visit(context, &info) != 0) return AB_OK;
  }
  return AB_OK;
}

static ab_status peek_stream(void *self, DLDevice device, ab_stream *stream) {
  (void)self;
  if (SIM_ORDERED || !on_device(device)) return AB_UNSUPPORTED;
  sim_describe_stream(device.device_id, sim_current(device.device_id), stream);
  return AB_OK;
}

static ab_status current_stream(const ab_call *call, DLDevice device, ab_stream *stream) {
  if (!on_device(device)) return ab_fail(call, AB_NO_DEVICE, SIM_NAME " has no device %d", (int)device.device_id);
  sim_describe_stream(device.device_id, sim_current(device.device_id), stream);
  if (SIM_ORDERED) *stream = (ab_stream){.struct_size = sizeof *stream, .kind = AB_STREAM_UNKNOWN, .device = device};
  return AB_OK;
}

#if SIM_ORDERED
static ab_status import_stream(const ab_call *call, DLDevice device, ab_stream *stream) {
  if (!on_device(device)) return ab_fail(call, AB_NO_DEVICE, SIM_NAME " has no device %d", (int)device.device_id);
  sim_describe_stream(device.device_id, sim_ready(device.device_id), stream);
  return AB_OK;
}
#endif

static ab_status fence(const ab_call *call, DLDevice device, uint32_t scope, const ab_stream *stream,
                       uint32_t *covered) {
  if (!on_device(device) || stream == NULL || stream->kind != AB_STREAM_HANDLE)
    return ab_fail(call, AB_UNSUPPORTED, "no such stream");
  sim_enter(device.device_id);
  sim_order(sim_current(device.device_id), (CUstream)stream->handle);
  sim_leave();
  *covered = scope & (SIM_ORDERED ? AB_SCOPE_COMPUTE_ORDER | AB_SCOPE_CURRENT : AB_SCOPE_CURRENT);
  return AB_OK;
}

static ab_status finish(const ab_call *call, DLDevice device, uint32_t scope, uint32_t *covered) {
  if (!on_device(device)) return ab_fail(call, AB_NO_DEVICE, SIM_NAME " has no device %d", (int)device.device_id);
  sim_enter(device.device_id);
  if (scope == AB_SCOPE_CURRENT) cuStreamSynchronize(sim_current(device.device_id));
  else cuCtxSynchronize();
  sim_leave();
  *covered = scope;
  return AB_OK;
}

typedef struct adopted {
  int device;
  CUstream stream;
} adopted;

static ab_status adopt_stream(const ab_call *call, const ab_stream *stream, void **object) {
  const int known = stream->kind == AB_STREAM_HANDLE || stream->kind == AB_STREAM_LEGACY;
  if (SIM_ORDERED || !known || !on_device(stream->device))
    return ab_fail(call, AB_UNSUPPORTED, SIM_NAME " works on its own streams");
  adopted *made = malloc(sizeof *made);
  if (made == NULL) return ab_fail(call, AB_OOM, "no host memory");
  *made = (adopted){stream->device.device_id, sim_handle_of(stream)};
  *object = made;
  return AB_OK;
}

static void drop_stream(void *self, void *object) {
  (void)self;
  free(object);
}

static ab_status enter_stream(const ab_call *call, void *object, void **token) {
  (void)call;
  const adopted *given = object;
  sim_push_stream(given->device, given->stream);
  *token = object;
  return AB_OK;
}

static void exit_stream(void *self, void *token) {
  (void)self;
  (void)token;
  sim_pop_stream();
}

/* ------------------------------------------------------------------ memory */

static ab_status is_oom(void *self, const ab_failure *failure) {
  (void)self;
  return strcmp(failure->domain, "cuda") == 0 && failure->code == CUDA_ERROR_OUT_OF_MEMORY ? AB_OOM : AB_OK;
}

static ab_status clear_cache(const ab_call *call, DLDevice device, uint32_t flags, uint64_t *to_driver,
                             uint64_t *to_pool) {
  (void)call;
  (void)flags;
  *to_driver = sim_pool_clear(device.device_type == kDLCUDA ? device.device_id : -1);
  *to_pool = 0;
  return AB_OK;
}

static const ab_plugin_vtable vtable = {.struct_size = sizeof vtable,
                                        .to_dlpack = to_dlpack,
                                        .from_dlpack = from_dlpack,
                                        .to_host = to_host,
                                        .from_host = from_host,
                                        .is_oom = is_oom,
                                        .clear_cache = clear_cache,
                                        .recognizes = recognizes,
                                        .describe = describe,
                                        .capabilities = capabilities,
                                        .retain = retain,
                                        .release = release,
                                        .devices = devices,
                                        .current_stream = current_stream,
                                        .peek_stream = peek_stream,
                                        .adopt_stream = adopt_stream,
                                        .drop_stream = drop_stream,
                                        .enter_stream = enter_stream,
                                        .exit_stream = exit_stream,
#if SIM_ORDERED
                                        .import_stream = import_stream,
#endif
                                        .empty = empty,
                                        .fence = fence,
                                        .finish = finish};

static ab_status create(const ab_services *services, ab_plugin *plugin, ab_error *error) {
  (void)error;
  sim_services = services;
  plugin->vtable = &vtable;
  return AB_OK;
}

enum {
  FLAGS = AB_PLUGIN_DELETER_ANY_THREAD | (SIM_CALLBACK ? AB_PLUGIN_DELETER_IN_CALLBACK : 0) |
          (SIM_ORDERED ? AB_PLUGIN_RELEASES_BEFORE_DONE : AB_PLUGIN_ALLOC_STREAM_KEYED)
};

AB_PLUGIN_DEFINE = {.struct_size = sizeof arraybridge_plugin,
                    .abi_major = AB_ABI_MAJOR,
                    .abi_minor = AB_ABI_MINOR,
                    .name = SIM_NAME,
                    .version = "1.0.0",
                    .licence = "MIT",
                    .runtime = AB_RUNTIME_NONE,
                    .lock = AB_LOCK_NONE,
                    .runtime_abi = "",
                    .flags = FLAGS,
                    .create = create};
