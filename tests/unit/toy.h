/* SPDX-License-Identifier: MIT
 * A backend in the process of the test: arrays in host memory, and slots that do what the test asks them to, wrong
 * things included. Its "accelerators" (kDLExtDev) are host memory that pretends. */
#ifndef TOY_H
#define TOY_H

#include <stdlib.h>

#include "bridge.h"
#include "memory.h"
#include "tensor.h"

enum { TOY_NDIM = 8, TOY_HOST = 1, TOY_EXT = 2 };

typedef struct toy toy;

typedef struct toy_array {
  toy *home;
  atomic_int references;
  DLDataType dtype;
  DLDevice device;
  int32_t ndim;
  int64_t shape[TOY_NDIM];
  int64_t strides[TOY_NDIM]; /* bytes */
  void *data;
  uint32_t flags; /* AB_INFO_* */
  uint32_t mutability;
  const char *why_not;
  DLManagedTensorVersioned *memory; /* imported */
  void *own;                        /* malloc'ed */
} toy_array;

/* What is wrong with the tensors that a toy exports. */
typedef enum toy_flaw {
  TOY_SOUND,
  TOY_WRONG_SHAPE,
  TOY_WRONG_NDIM,
  TOY_WRONG_DTYPE,
  TOY_NULL_DATA,
  TOY_NEWER_MAJOR,
  TOY_WRONG_DEVICE,
  TOY_NO_TENSOR,
  TOY_OTHER_STRIDES,
  TOY_NO_STRIDES,
  TOY_ODD_ADDRESS,
  TOY_READ_ONLY_FLAG
} toy_flaw;

/* What the next calls of one slot do: `failures` times `status` with `text`, then succeed; -1: always. */
typedef struct toy_behaviour {
  int failures;
  ab_status status;
  ab_status says; /* written into the error in place of `status`; 0: the same */
  const char *text;
  uint32_t report; /* AB_REPORT_* when it succeeds */
  atomic_int calls;
} toy_behaviour;

struct toy {
  ab_backend backend;
  ab_plugin_descriptor descriptor;
  toy_behaviour start, describe, to_dlpack, from_dlpack, to_host, from_host, devices, capabilities, stream;
  toy_flaw flaw;
  int32_t consumes;  /* from_dlpack takes the tensor although it fails */
  int gives_nothing; /* from_dlpack and from_host succeed without an array */
  int gives_tensor;  /* describe gives a tensor when it is wanted */
  int sets_failure;  /* failures carry an ab_failure */
  uint32_t places;   /* TOY_HOST, TOY_EXT: where it has arrays */
  int32_t hosts;     /* host devices; 1 at first */
  int32_t accelerators;
  uint32_t stream_kind;
  ab_capabilities can[2]; /* by slot */
  int has_slot[2];
  /* what was seen */
  atomic_int exported, deleted, arrays, failures_alive;
  uint32_t call_flags;   /* of the last describe, to_dlpack, to_host, from_dlpack, from_host */
  uint64_t tensor_flags; /* of the last tensor imported */
  DLTensor seen;         /* the last tensor imported; its pointers may dangle */
  int64_t seen_strides[TOY_NDIM];
  int had_stream;        /* the last import was on a stream */
  int (*has_lock)(void); /* asked in each slot; NULL: nobody cares */
  atomic_int unlocked;   /* slots called without the lock */
  int drops_need_lock;   /* exported tensors are guarded with AB_TENSOR_DROP_NEEDS_LOCK */
};

static const DLDataType toy_dtypes[] = {{kDLBool, 8, 1}, {kDLUInt, 8, 1},   {kDLInt, 16, 1},   {kDLInt, 32, 1},
                                        {kDLInt, 64, 1}, {kDLFloat, 32, 1}, {kDLFloat, 64, 1}, {kDLComplex, 64, 1}};

static inline ab_status toy_behave(toy_behaviour *b, const ab_call *call, toy *self);

/* ------------------------------------------------------------------ arrays */

static inline void toy_array_release(toy_array *array) {
  if (atomic_fetch_sub(&array->references, 1) != 1) return;
  if (array->memory != NULL && array->memory->deleter != NULL) array->memory->deleter(array->memory);
  free(array->own);
  atomic_fetch_sub(&array->home->arrays, 1);
  free(array);
}

static inline int64_t toy_count(const toy_array *array) {
  int64_t count = 1;
  for (int32_t axis = 0; axis < array->ndim; axis++) count *= array->shape[axis];
  return count;
}

static inline void toy_c_strides(toy_array *array) {
  int64_t step = array->dtype.bits / 8;
  for (int32_t axis = array->ndim - 1; axis >= 0; axis--) {
    array->strides[axis] = step;
    step *= array->shape[axis] > 0 ? array->shape[axis] : 1;
  }
}

static inline toy_array *toy_array_empty(toy *home, DLDataType dtype, DLDevice device, int32_t ndim) {
  toy_array *made = calloc(1, sizeof *made);
  made->home = home;
  atomic_init(&made->references, 1);
  made->dtype = dtype;
  made->device = device;
  made->ndim = ndim;
  made->flags = device.device_type == kDLCPU ? AB_INFO_HOST_ACCESSIBLE : 0;
  atomic_fetch_add(&home->arrays, 1);
  return made;
}

/* A C-contiguous host array on a 64-byte boundary with room behind it, its bytes counting up. */
static inline toy_array *toy_array_new(toy *home, DLDataType dtype, int32_t ndim, const int64_t *shape) {
  toy_array *made = toy_array_empty(home, dtype, (DLDevice){kDLCPU, 0}, ndim);
  for (int32_t axis = 0; axis < ndim; axis++) made->shape[axis] = shape[axis];
  toy_c_strides(made);
  const size_t bytes = (size_t)toy_count(made) * (dtype.bits / 8);
  made->own = aligned_alloc(64, (bytes + 64 + 63) & ~(size_t)63);
  for (size_t index = 0; index < bytes + 64; index++) ((unsigned char *)made->own)[index] = (unsigned char)index;
  made->data = bytes != 0 ? made->own : NULL;
  return made;
}

/* ------------------------------------------------------------------ tensors */

typedef struct toy_export {
  DLManagedTensorVersioned tensor;
  toy_array *array;
  int64_t shape[TOY_NDIM], strides[TOY_NDIM];
} toy_export;

static inline void toy_export_delete(DLManagedTensorVersioned *tensor) {
  toy_export *self = tensor->manager_ctx;
  atomic_fetch_add(&self->array->home->deleted, 1);
  toy_array_release(self->array);
  free(self);
}

static inline DLManagedTensorVersioned *toy_export_new(toy *self, toy_array *array) {
  if (self->flaw == TOY_NO_TENSOR) return NULL;
  toy_export *made = calloc(1, sizeof *made);
  const int64_t itemsize = array->dtype.bits / 8;
  atomic_fetch_add(&array->references, 1);
  atomic_fetch_add(&self->exported, 1);
  made->array = array;
  made->tensor = (DLManagedTensorVersioned){
      .version = {DLPACK_MAJOR_VERSION, DLPACK_MINOR_VERSION}, .manager_ctx = made, .deleter = toy_export_delete};
  made->tensor.dl_tensor = (DLTensor){.data = array->data,
                                      .device = array->device,
                                      .ndim = array->ndim,
                                      .dtype = array->dtype,
                                      .shape = made->shape,
                                      .strides = made->strides};
  for (int32_t axis = 0; axis < array->ndim; axis++) {
    made->shape[axis] = array->shape[axis];
    made->strides[axis] = array->strides[axis] / itemsize;
  }
  DLTensor *t = &made->tensor.dl_tensor;
  if (self->flaw == TOY_WRONG_SHAPE) made->shape[0]--;
  if (self->flaw == TOY_WRONG_NDIM) t->ndim--;
  if (self->flaw == TOY_WRONG_DTYPE) t->dtype.code = kDLUInt;
  if (self->flaw == TOY_NULL_DATA) t->data = NULL;
  if (self->flaw == TOY_NEWER_MAJOR) made->tensor.version.major++;
  if (self->flaw == TOY_WRONG_DEVICE) t->device = (DLDevice){kDLOpenCL, 0};
  if (self->flaw == TOY_OTHER_STRIDES) made->strides[0] = -made->strides[0];
  if (self->flaw == TOY_NO_STRIDES) t->strides = NULL;
  if (self->flaw == TOY_READ_ONLY_FLAG) made->tensor.flags = DLPACK_FLAG_BITMASK_READ_ONLY;
  if (self->flaw == TOY_ODD_ADDRESS) t->byte_offset = 1;
  return &made->tensor;
}

/* A host tensor with the elements, C-contiguous. */
static inline DLManagedTensorVersioned *toy_export_copy(toy *self, const toy_array *from) {
  toy_array *copy = toy_array_new(self, from->dtype, from->ndim, from->shape);
  const int64_t itemsize = from->dtype.bits / 8, count = toy_count(from);
  for (int64_t index = 0; index < count; index++) {
    int64_t rest = index, offset = 0;
    for (int32_t axis = from->ndim - 1; axis >= 0; axis--) {
      offset += rest % from->shape[axis] * from->strides[axis];
      rest /= from->shape[axis];
    }
    memcpy((char *)copy->data + index * itemsize, (const char *)from->data + offset, (size_t)itemsize);
  }
  DLManagedTensorVersioned *made = toy_export_new(self, copy);
  toy_array_release(copy);
  return made;
}

/* ------------------------------------------------------------------ slots */

static inline void toy_failure_release(ab_failure *failure) {
  atomic_fetch_sub(&((toy *)failure->owner)->failures_alive, 1);
}

static inline ab_status toy_behave(toy_behaviour *b, const ab_call *call, toy *self) {
  atomic_fetch_add(&b->calls, 1);
  if (self->has_lock != NULL && !self->has_lock()) atomic_fetch_add(&self->unlocked, 1);
  if (b->failures == 0) {
    call->report->flags |= b->report;
    return AB_OK;
  }
  if (b->failures > 0) b->failures--;
  if (self->sets_failure) {
    ab_failure failure = {.struct_size = sizeof failure,
                          .status = b->status,
                          .domain = "toy",
                          .owner = self,
                          .release = toy_failure_release};
    atomic_fetch_add(&self->failures_alive, 1);
    ab_error_set_failure(call->error, &failure);
  }
  if (b->text != NULL) ab_fail(call, b->says != AB_OK ? b->says : b->status, "%s", b->text);
  return b->status;
}

static inline int32_t toy_recognizes(void *self, void *object, int32_t *holds_for_type) {
  (void)holds_for_type;
  return ((toy_array *)object)->home == self;
}

static inline void toy_retain(void *self, void *array) {
  (void)self;
  atomic_fetch_add(&((toy_array *)array)->references, 1);
}

static inline void toy_release(void *self, void *array) {
  (void)self;
  toy_array_release(array);
}

static inline ab_status toy_start(const ab_call *call) {
  toy *self = call->self;
  return toy_behave(&self->start, call, self);
}

static inline ab_status toy_describe(const ab_call *call, void *object, ab_array_info *info) {
  toy *self = call->self;
  toy_array *array = object;
  self->call_flags = call->flags;
  const ab_status status = toy_behave(&self->describe, call, self);
  if (status != AB_OK) return status;
  info->flags = array->flags;
  info->device = array->device;
  info->mutability = array->mutability;
  info->why_not = array->why_not;
  if (self->gives_tensor && (call->flags & AB_CALL_WANT_TENSOR)) {
    info->tensor = toy_export_new(self, array);
    return AB_OK;
  }
  info->dtype = array->dtype;
  info->ndim = array->ndim;
  memcpy(info->shape, array->shape, sizeof array->shape);
  memcpy(info->strides, array->strides, sizeof array->strides);
  if (array->flags & AB_INFO_HOST_ACCESSIBLE) info->data = array->data;
  return AB_OK;
}

static inline ab_status toy_capabilities(const ab_call *call, DLDevice device, uint32_t slot, ab_capabilities *stated) {
  toy *self = call->self;
  const ab_status status = toy_behave(&self->capabilities, call, self);
  if (status != AB_OK) return status;
  const int host = device.device_type == kDLCPU && device.device_id >= 0 && device.device_id < self->hosts &&
                   (self->places & TOY_HOST);
  const int ext = device.device_type == kDLExtDev && device.device_id >= 0 && device.device_id < self->accelerators &&
                  (self->places & TOY_EXT);
  if (!self->has_slot[slot] || (!host && !ext)) return ab_fail(call, AB_UNSUPPORTED, "no toys there");
  ab_struct_fill(stated, &self->can[slot], sizeof self->can[slot]);
  return AB_OK;
}

static inline ab_status toy_to_dlpack(const ab_call *call, void *array, DLManagedTensorVersioned **tensor) {
  toy *self = call->self;
  self->call_flags = call->flags;
  const ab_status status = toy_behave(&self->to_dlpack, call, self);
  if (status != AB_OK) return status;
  DLManagedTensorVersioned *made = toy_export_new(self, array);
  if (!self->drops_need_lock) *tensor = made;
  else if (ab__tensor_guard(self->backend.bridge, made, AB_TENSOR_DROP_NEEDS_LOCK, tensor) != AB_OK) {
    made->deleter(made);
    return ab_fail(call, AB_OOM, "no memory for a guard");
  }
  return AB_OK;
}

static inline ab_status toy_to_host(const ab_call *call, void *array, DLManagedTensorVersioned **tensor) {
  toy *self = call->self;
  self->call_flags = call->flags;
  const ab_status status = toy_behave(&self->to_host, call, self);
  if (status != AB_OK) return status;
  const int shares = (self->to_host.report & AB_REPORT_SHARED) != 0;
  *tensor = shares ? toy_export_new(self, array) : toy_export_copy(self, array);
  if (shares && *tensor != NULL && self->flaw != TOY_WRONG_DEVICE) (*tensor)->dl_tensor.device = (DLDevice){kDLCPU, 0};
  if (!shares) call->report->flags |= AB_REPORT_COPIED;
  return AB_OK;
}

static inline toy_array *toy_import(toy *self, const DLTensor *t, DLDevice device) {
  toy_array *made = toy_array_empty(self, t->dtype, device, t->ndim);
  for (int32_t axis = 0; axis < t->ndim; axis++) {
    made->shape[axis] = t->shape[axis];
    made->strides[axis] = t->strides[axis] * (t->dtype.bits / 8);
  }
  made->data = t->data;
  return made;
}

static inline void toy_see(toy *self, const ab_call *call, const DLTensor *t) {
  self->call_flags = call->flags;
  self->seen = *t;
  for (int32_t axis = 0; axis < t->ndim && axis < TOY_NDIM; axis++) self->seen_strides[axis] = t->strides[axis];
  self->had_stream = call->stream != NULL;
}

static inline ab_status toy_from_dlpack(const ab_call *call, DLManagedTensorVersioned *tensor, DLDevice device,
                                        int32_t *consumed, void **array) {
  toy *self = call->self;
  toy_see(self, call, &tensor->dl_tensor);
  self->tensor_flags = tensor->flags;
  const ab_status status = toy_behave(&self->from_dlpack, call, self);
  if (status != AB_OK) {
    *consumed = self->consumes;
    if (self->consumes) tensor->deleter(tensor);
    return status;
  }
  if (self->gives_nothing) {
    tensor->deleter(tensor);
    return AB_OK;
  }
  toy_array *made = toy_import(self, &tensor->dl_tensor, device);
  made->memory = tensor;
  *array = made;
  return AB_OK;
}

static inline ab_status toy_from_host(const ab_call *call, const DLTensor *tensor, DLDevice device, void **array) {
  toy *self = call->self;
  toy_see(self, call, tensor);
  const ab_status status = toy_behave(&self->from_host, call, self);
  if (status != AB_OK || self->gives_nothing) return status;
  toy_array *made = toy_import(self, tensor, device);
  toy_c_strides(made);
  const size_t bytes = (size_t)toy_count(made) * (made->dtype.bits / 8);
  made->own = malloc(bytes + 1);
  if (bytes != 0) memcpy(made->own, tensor->data, bytes);
  made->data = made->own;
  *array = made;
  return AB_OK;
}

static inline ab_status toy_devices(const ab_call *call, ab_device_visitor visit, void *context) {
  toy *self = call->self;
  const ab_status status = toy_behave(&self->devices, call, self);
  if (status != AB_OK) return status;
  for (int32_t id = 0; id < self->accelerators; id++) {
    const ab_device_info info = {.struct_size = sizeof info, .device = {kDLExtDev, id}, .name = "toy"};
    if (visit(context, &info) != 0) return AB_OK;
  }
  const ab_device_info host = {.struct_size = sizeof host, .device = {kDLCPU, 0}, .name = "host"};
  if (self->places & TOY_HOST) visit(context, &host);
  return AB_OK;
}

static inline ab_status toy_current_stream(const ab_call *call, DLDevice device, ab_stream *stream) {
  toy *self = call->self;
  const ab_status status = toy_behave(&self->stream, call, self);
  if (status != AB_OK) return status;
  stream->kind = self->stream_kind;
  stream->device = device;
  return AB_OK;
}

/* ------------------------------------------------------------------ a toy and its bridge */

static inline void toy_init(toy *self, ab_bridge *bridge, const char *name) {
  memset(self, 0, sizeof *self);
  self->descriptor = (ab_plugin_descriptor){.struct_size = sizeof self->descriptor,
                                            .abi_major = AB_ABI_MAJOR,
                                            .abi_minor = AB_ABI_MINOR,
                                            .name = name,
                                            .version = "1",
                                            .licence = "MIT",
                                            .runtime = bridge->runtime.kind,
                                            .lock = bridge->runtime.kind,
                                            .runtime_abi = ""};
  self->places = TOY_HOST;
  self->hosts = 1;
  for (int slot = 0; slot < 2; slot++) {
    self->has_slot[slot] = 1;
    self->can[slot] = (ab_capabilities){.struct_size = sizeof self->can[slot],
                                        .flags = AB_ACCEPTS_EMPTY | AB_ACCEPTS_ZERO_DIM,
                                        .dtypes = toy_dtypes,
                                        .dtype_count = sizeof toy_dtypes / sizeof *toy_dtypes,
                                        .max_ndim = TOY_NDIM};
  }
  ab_backend *backend = &self->backend;
  backend->descriptor = &self->descriptor;
  backend->vtable = &backend->slots;
  backend->self = self;
  backend->bridge = bridge;
  pthread_mutex_init(&backend->ability_lock, NULL);
  backend->slots = (ab_plugin_vtable){.struct_size = sizeof backend->slots,
                                      .to_dlpack = toy_to_dlpack,
                                      .from_dlpack = toy_from_dlpack,
                                      .to_host = toy_to_host,
                                      .from_host = toy_from_host,
                                      .recognizes = toy_recognizes,
                                      .describe = toy_describe,
                                      .capabilities = toy_capabilities,
                                      .retain = toy_retain,
                                      .release = toy_release,
                                      .start = toy_start,
                                      .devices = toy_devices,
                                      .current_stream = toy_current_stream};
}

/* Forgets what the toy has said it can take, so that a test may change its mind. */
static inline void toy_forget(toy *self) {
  ab__ability *ability = atomic_exchange(&self->backend.abilities, NULL);
  while (ability != NULL) {
    ab__ability *next = ability->next;
    ab__deallocate(ability);
    ability = next;
  }
}

static inline void toy_end(toy *self) {
  toy_forget(self);
  pthread_mutex_destroy(&self->backend.ability_lock);
}

#endif
