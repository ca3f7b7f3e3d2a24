/* SPDX-License-Identifier: MIT */
#include "tensor.h"

#include "dtype.h"
#include "memory.h"
#include "release.h"

/* One allocation holds the tensor, who to tell at its end, the queue node that may be needed for that, and its extents.
 */
typedef struct block {
  DLManagedTensorVersioned tensor;
  void *owner;
  void (*drop)(void *owner);
  ab_bridge *bridge; /* NULL: drop needs no lock */
  ab__release_node node;
  int64_t extents[];
} block;

static void block_drop(void *data) {
  block *self = data;
  void (*drop)(void *) = self->drop;
  void *owner = self->owner;
  self->drop = NULL;
  ab__deallocate(self);
  if (drop != NULL) drop(owner);
}

/* What the tensor holds back, roughly: its elements. */
static uint64_t span(const DLTensor *tensor) {
  uint64_t bytes = (uint64_t)tensor->dtype.bits / 8;
  for (int32_t axis = 0; axis < tensor->ndim; axis++) bytes *= (uint64_t)tensor->shape[axis];
  return bytes;
}

static void block_delete(DLManagedTensorVersioned *tensor) {
  block *self = (block *)tensor;
  ab_bridge *bridge = self->bridge;
  if (bridge == NULL) {
    block_drop(self);
    return;
  }
  if (ab__bridge_ending(bridge)) return; /* a leak on purpose: the runtime can no longer be called */
  if (ab__bridge_lock_held(bridge)) {
    block_drop(self);
    return;
  }
  self->node = (ab__release_node){.fn = block_drop, .data = self, .bytes = span(&self->tensor.dl_tensor)};
  if (ab__release_push_node(bridge->release, &self->node)) ab__bridge_request_drain(bridge);
}

static int is_block(const DLManagedTensorVersioned *tensor) { return tensor->deleter == block_delete; }

ab_status ab__tensor_new(ab_bridge *bridge, int32_t ndim, uint32_t flags, void *owner, void (*drop)(void *owner),
                         DLManagedTensorVersioned **tensor) {
  if (ndim < 0 || ndim > AB_MAX_NDIM) return AB_INVALID_ARGUMENT;
  block *self = ab__allocate(sizeof(block) + 2 * (size_t)ndim * sizeof(int64_t));
  if (self == NULL) return AB_OOM;
  self->owner = owner;
  self->drop = drop;
  self->bridge = flags & AB_TENSOR_DROP_NEEDS_LOCK ? bridge : NULL;
  self->tensor = (DLManagedTensorVersioned){
      .version = {DLPACK_MAJOR_VERSION, DLPACK_MINOR_VERSION},
      .manager_ctx = self,
      .deleter = block_delete,
      .dl_tensor = {.device = {kDLCPU, 0}, .ndim = ndim, .shape = self->extents, .strides = self->extents + ndim},
  };
  *tensor = &self->tensor;
  return AB_OK;
}

void ab__tensor_delete(DLManagedTensorVersioned *tensor) {
  if (tensor != NULL && tensor->deleter != NULL) tensor->deleter(tensor);
}

/* ------------------------------------------------------------------ translating */

static void fill_compact_strides(int32_t ndim, const int64_t *shape, int64_t *strides) {
  int64_t step = 1;
  for (int32_t axis = ndim - 1; axis >= 0; axis--) {
    strides[axis] = step;
    if (shape[axis] > 1 && __builtin_mul_overflow(step, shape[axis], &step)) step = INT64_MAX;
  }
}

static void copy_description(const DLTensor *from, DLTensor *to) {
  to->data = from->data;
  to->device = from->device;
  to->dtype = from->dtype;
  to->byte_offset = from->byte_offset;
  const size_t bytes = (size_t)from->ndim * sizeof(int64_t);
  if (bytes == 0) return;
  memcpy(to->shape, from->shape, bytes);
  if (from->strides != NULL) memcpy(to->strides, from->strides, bytes);
  else fill_compact_strides(from->ndim, from->shape, to->strides);
}

static void drop_old(void *owner) {
  DLManagedTensor *old = owner;
  if (old->deleter != NULL) old->deleter(old);
}

static int has_extents(const DLTensor *tensor) {
  return tensor->ndim >= 0 && tensor->ndim <= AB_MAX_NDIM && (tensor->ndim == 0 || tensor->shape != NULL);
}

ab_status ab__tensor_upgrade(DLManagedTensor *old, DLManagedTensorVersioned **tensor) {
  if (!has_extents(&old->dl_tensor)) return AB_INVALID_TENSOR;
  DLManagedTensorVersioned *made = NULL;
  const ab_status status = ab__tensor_new(NULL, old->dl_tensor.ndim, 0, old, drop_old, &made);
  if (status != AB_OK) return status;
  copy_description(&old->dl_tensor, &made->dl_tensor);
  *tensor = made;
  return AB_OK;
}

static void delete_downgraded(DLManagedTensor *old) {
  DLManagedTensorVersioned *inner = old->manager_ctx;
  ab__deallocate(old);
  ab__tensor_delete(inner);
}

ab_status ab__tensor_downgrade(DLManagedTensorVersioned *tensor, DLManagedTensor **old) {
  DLManagedTensor *made = ab__allocate(sizeof *made);
  if (made == NULL) return AB_OOM;
  /* Shape and strides stay in the versioned tensor, which lives as long as this one. */
  *made = (DLManagedTensor){.dl_tensor = tensor->dl_tensor, .manager_ctx = tensor, .deleter = delete_downgraded};
  *old = made;
  return AB_OK;
}

DLManagedTensorVersioned *ab__tensor_downgrade_undo(DLManagedTensor *old) {
  DLManagedTensorVersioned *inner = old->manager_ctx;
  ab__deallocate(old);
  return inner;
}

static void drop_versioned(void *owner) { ab__tensor_delete(owner); }

ab_status ab__tensor_guard(ab_bridge *bridge, DLManagedTensorVersioned *inner, uint32_t flags,
                           DLManagedTensorVersioned **outer) {
  if (!has_extents(&inner->dl_tensor)) return AB_INVALID_TENSOR;
  DLManagedTensorVersioned *made = NULL;
  const ab_status status = ab__tensor_new(bridge, inner->dl_tensor.ndim, flags, inner, drop_versioned, &made);
  if (status != AB_OK) return status;
  copy_description(&inner->dl_tensor, &made->dl_tensor);
  made->flags = inner->flags;
  *outer = made;
  return AB_OK;
}

/* ------------------------------------------------------------------ checking */

int ab__tensor_bytes(int32_t ndim, const int64_t *shape, uint32_t itemsize, uint64_t *bytes) {
  uint64_t product = itemsize;
  int empty = 0;
  for (int32_t axis = 0; axis < ndim; axis++) {
    if (shape[axis] < 0) return 0;
    if (shape[axis] == 0) empty = 1;
  }
  for (int32_t axis = 0; axis < ndim && !empty; axis++)
    if (!ab__multiply_size(product, (uint64_t)shape[axis], &product)) return 0;
  if (product > INT64_MAX) return 0;
  *bytes = empty ? 0 : product;
  return 1;
}

/* Dense in some order: sorted by stride, each axis must step over exactly what lies below it. */
static int is_dense(int32_t ndim, const int64_t *shape, const int64_t *strides, int64_t itemsize) {
  uint64_t used = 0;
  int64_t expected = itemsize;
  for (int32_t count = 0; count < ndim; count++) {
    int32_t found = -1;
    for (int32_t axis = 0; axis < ndim && found < 0; axis++)
      if (!(used >> axis & 1) && (shape[axis] == 1 || strides[axis] == expected)) found = axis;
    if (found < 0) return 0;
    used |= UINT64_C(1) << found;
    if (shape[found] != 1) expected *= shape[found];
  }
  return 1;
}

ab_status ab__layout_of(int32_t ndim, const int64_t *shape, const int64_t *strides, uint32_t itemsize,
                        ab__layout *layout) {
  *layout = (ab__layout){.dense_c = 1, .dense = 1, .highest = itemsize};
  for (int32_t axis = 0; axis < ndim; axis++) {
    if (shape[axis] < 0) return AB_INVALID_TENSOR;
    if (shape[axis] == 0) layout->empty = 1;
  }
  if (layout->empty) {
    layout->highest = 0;
    return AB_OK;
  }
  int64_t expected = itemsize;
  for (int32_t axis = ndim - 1; axis >= 0; axis--) {
    if (shape[axis] == 1) continue;
    int64_t reach = 0;
    if (__builtin_mul_overflow(strides[axis], shape[axis] - 1, &reach)) return AB_INVALID_TENSOR;
    if (strides[axis] != expected) layout->dense_c = 0;
    if (strides[axis] % (int64_t)itemsize != 0) layout->fractional = 1;
    if (strides[axis] < 0) layout->negative = 1;
    int64_t *end = reach < 0 ? &layout->lowest : &layout->highest;
    if (__builtin_add_overflow(*end, reach, end)) return AB_INVALID_TENSOR;
    if (__builtin_mul_overflow(expected, shape[axis], &expected)) return AB_INVALID_TENSOR;
  }
  if (!layout->dense_c) layout->dense = is_dense(ndim, shape, strides, itemsize);
  return AB_OK;
}

void ab__layout_overrun(const ab__layout *layout, const void *data, const void *begin, uint64_t bytes, uint64_t *before,
                        uint64_t *behind) {
  const int64_t start = (int64_t)((uintptr_t)data - (uintptr_t)begin);
  int64_t first = 0, end = 0;
  if (__builtin_add_overflow(start, layout->lowest, &first)) first = INT64_MIN + 1;
  if (__builtin_add_overflow(start, layout->highest, &end)) end = INT64_MAX;
  *before = first < 0 && !layout->empty ? (uint64_t)-first : 0;
  *behind = end > 0 && (uint64_t)end > bytes && !layout->empty ? (uint64_t)end - bytes : 0;
}

static ab_status check(const DLManagedTensorVersioned *tensor, ab_error *error) {
  const DLTensor *t = &tensor->dl_tensor;
  if (!has_extents(t)) return ab_error_set(error, AB_INVALID_TENSOR, "invalid tensor: %d dimensions", (int)t->ndim);
  const uint32_t itemsize = ab_dtype_size(t->dtype);
  if (itemsize == 0)
    return ab_error_set(error, AB_UNSUPPORTED, "dtype (code %u, bits %u, lanes %u) is not supported", t->dtype.code,
                        t->dtype.bits, t->dtype.lanes);
  uint64_t bytes = 0;
  if (!ab__tensor_bytes(t->ndim, t->shape, itemsize, &bytes))
    return ab_error_set(error, AB_INVALID_TENSOR, "invalid tensor: its shape is negative or overflows");
  if (bytes != 0 && t->data == NULL)
    return ab_error_set(error, AB_INVALID_TENSOR, "invalid tensor: %llu bytes at address NULL",
                        (unsigned long long)bytes);
  if (bytes == 0) return AB_OK;
  if (t->byte_offset > INT64_MAX)
    return ab_error_set(error, AB_INVALID_TENSOR, "invalid tensor: its byte offset overflows");
  if (t->strides == NULL) return AB_OK;
  int64_t low = 0, high = (int64_t)itemsize;
  for (int32_t axis = 0; axis < t->ndim; axis++) {
    int64_t reach = 0;
    if (__builtin_mul_overflow(t->strides[axis], t->shape[axis] - 1, &reach) ||
        __builtin_mul_overflow(reach, (int64_t)itemsize, &reach) ||
        __builtin_add_overflow(reach < 0 ? low : high, reach, reach < 0 ? &low : &high))
      return ab_error_set(error, AB_INVALID_TENSOR, "invalid tensor: its strides overflow");
  }
  return AB_OK;
}

static int holds_address(DLDevice device) {
  return device.device_type == kDLCPU || device.device_type == kDLCUDAHost || device.device_type == kDLCUDA ||
         device.device_type == kDLCUDAManaged || device.device_type == kDLROCM || device.device_type == kDLROCMHost;
}

/* The stride of an axis that nobody steps along means nothing, and may be any number: it becomes what it would be in a
 * C-contiguous array, so that no arithmetic on it overflows and no framework stumbles over it. */
static void settle_strides(DLTensor *t, int empty) {
  const int64_t limit = INT64_MAX / 16; /* of the largest elements */
  int64_t step = 1;
  for (int32_t axis = t->ndim - 1; axis >= 0; axis--) {
    if (empty || t->shape[axis] == 1) t->strides[axis] = step;
    const int64_t extent = t->shape[axis] > 1 ? t->shape[axis] : 1;
    if (__builtin_mul_overflow(t->strides[axis], extent, &step) || step > limit || step < -limit) step = 1;
  }
}

static int is_empty(const DLTensor *t) {
  for (int32_t axis = 0; axis < t->ndim; axis++)
    if (t->shape[axis] == 0) return 1;
  return 0;
}

static ab_status adopt(DLManagedTensorVersioned **tensor, ab_error *error) {
  if (*tensor == NULL) return ab_error_set(error, AB_INVALID_TENSOR, "invalid tensor: there is none");
  if ((*tensor)->version.major != DLPACK_MAJOR_VERSION)
    return ab_error_set(error, AB_UNSUPPORTED, "tensor of DLPack %u.%u; %d.x is understood", (*tensor)->version.major,
                        (*tensor)->version.minor, DLPACK_MAJOR_VERSION);
  ab_status status = check(*tensor, error);
  if (status != AB_OK) return status;
  const int ours = is_block(*tensor) && (*tensor)->dl_tensor.strides != NULL;
  if (!ours) status = ab__tensor_guard(NULL, *tensor, 0, tensor);
  if (status != AB_OK) return ab_error_set(error, status, "no memory for the description of a tensor");
  DLTensor *t = &(*tensor)->dl_tensor;
  const int empty = is_empty(t);
  settle_strides(t, empty);
  if (t->byte_offset != 0 && (empty || holds_address(t->device))) {
    if (!empty) t->data = (void *)((uintptr_t)t->data + t->byte_offset);
    t->byte_offset = 0;
  }
  return AB_OK;
}

ab_status ab__tensor_adopt(DLManagedTensorVersioned **tensor, ab_error *error) {
  const ab_status status = adopt(tensor, error);
  if (status == AB_OK) return AB_OK;
  ab__tensor_delete(*tensor);
  *tensor = NULL;
  return status;
}
