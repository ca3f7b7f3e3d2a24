/* SPDX-License-Identifier: MIT
 * The commonest conversion without planning: a dense host array, described by a tensor, that the target takes as it is.
 * Everything it does not understand at a glance is left to the long way, which decides the same. */
#include "quick.h"

#include "dtype.h"

static int asks_for_nothing(const ab_convert_options *options) {
  const uint32_t changes = ~(uint32_t)(AB_CONVERT_LOCK_HELD | AB_CONVERT_COPY_LATE_READS | AB_CONVERT_NO_RECOVERY);
  return (options->flags & changes) == 0 && options->copy == AB_COPY_IF_NEEDED && options->dtype.bits == 0 &&
         options->record == NULL;
}

static const ab__ability *host_ability(const ab_backend *target) {
  const ab__ability *ability = atomic_load_explicit(&target->abilities, memory_order_acquire);
  for (; ability != NULL; ability = ability->next)
    if (ability->device.device_type == kDLCPU && ability->device.device_id == 0 && ability->slot == AB_SLOT_FROM_DLPACK)
      return ability->supported ? ability : NULL;
  return NULL; /* not asked yet: the long way will */
}

/* C-contiguous and not empty; *bytes is what it spans. */
static int is_dense(const DLTensor *t, uint64_t itemsize, uint64_t *bytes) {
  uint64_t step = 1;
  for (int32_t axis = t->ndim - 1; axis >= 0; axis--) {
    const int64_t extent = t->shape[axis];
    if (extent < 1 || (extent != 1 && (uint64_t)t->strides[axis] != step)) return 0;
    if (__builtin_mul_overflow(step, (uint64_t)extent, &step)) return 0;
  }
  return !__builtin_mul_overflow(step, itemsize, bytes) && *bytes <= INT64_MAX;
}

static int fits(const DLTensor *t, const ab__ability *ability) {
  const ab_capabilities *can = &ability->stated;
  const int index = ab__dtype_index(t->dtype);
  if (index < 0 || !(ability->dtypes >> index & 1) || t->ndim < 0) return 0;
  if (t->ndim > can->max_ndim || t->ndim < can->min_ndim) return 0;
  if (t->ndim == 0 && !(can->flags & AB_ACCEPTS_ZERO_DIM)) return 0;
  if (t->device.device_type != kDLCPU || t->data == NULL || t->byte_offset != 0) return 0;
  if (t->ndim > 0 && (t->shape == NULL || t->strides == NULL)) return 0;
  const uint32_t itemsize = (uint32_t)t->dtype.bits / 8;
  const uint32_t alignment = can->alignment != 0 ? can->alignment : itemsize;
  uint64_t bytes = 0;
  return ((uintptr_t)t->data & (alignment - 1)) == 0 && is_dense(t, itemsize, &bytes) &&
         (can->max_bytes == 0 || bytes <= can->max_bytes);
}

int ab__quick_exchange(ab__conversion *c, ab_status *status, void **object) {
  DLManagedTensorVersioned *tensor = c->info.tensor;
  if (tensor == NULL || !asks_for_nothing(c->options)) return 0;
  const uint32_t plain = AB_INFO_HOST_ACCESSIBLE | AB_INFO_GRADIENT;
  if ((c->info.flags & ~plain) != 0 || c->info.device.device_type != kDLCPU || c->info.range_bytes != 0) return 0;
  const ab__ability *ability = host_ability(c->at.target);
  if (ability == NULL || tensor->version.major != DLPACK_MAJOR_VERSION || !fits(&tensor->dl_tensor, ability)) return 0;
  const int copies = (c->options->flags & AB_CONVERT_COPY_LATE_READS) && c->info.mutability == AB_MUTABLE;
  if (copies && (ability->stated.flags & (AB_READS_HOST_LATER | AB_MAKES_IMMUTABLE))) return 0;
  const int carries = (ability->stated.flags & AB_CARRIES_READ_ONLY) != 0;
  if (c->info.mutability > AB_IMMUTABLE && !carries) return 0;

  tensor->flags &= ~(uint64_t)DLPACK_FLAG_BITMASK_READ_ONLY;
  if (c->info.mutability != AB_MUTABLE && carries) tensor->flags |= DLPACK_FLAG_BITMASK_READ_ONLY;
  tensor->dl_tensor.device = (DLDevice){kDLCPU, 0};
  ab__invocation run;
  ab__invocation_init(&run, c->at.target, 0, NULL, c->error);
  int32_t consumed = 0;
  void *made = NULL;
  *status = c->at.target->vtable->from_dlpack(&run.call, tensor, tensor->dl_tensor.device, &consumed, &made);
  if (*status == AB_OK || consumed) c->info.tensor = NULL;
  if (*status == AB_OK && made != NULL) {
    *object = made;
    return 1;
  }
  if (*status != AB_OK) *status = ab__slot_result(c->at.target, "from_dlpack", *status, c->error);
  if (*status != AB_OK && *status != AB_UNSUPPORTED && *status != AB_WOULD_COPY) return 1;
  ab_error_clear(c->error); /* the long way asks again, and tells */
  return 0;
}
