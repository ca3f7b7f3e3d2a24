/* SPDX-License-Identifier: MIT
 * libFuzzer target: descriptions of tensors that nobody in his right mind would send. Nothing may crash, and what is
 * called shareable must lie within the extent that was computed for it.
 *
 *     clang -g -O1 -fsanitize=fuzzer,address,undefined -D_GNU_SOURCE -Icore/include -Isdk/include -Icore/src … */
#include <stdlib.h>

#include "dtype.h"
#include "route.h"
#include "tensor.h"

typedef struct input {
  const uint8_t *bytes;
  size_t left;
} input;

static uint8_t next(input *from) {
  if (from->left == 0) return 0;
  from->left--;
  return *from->bytes++;
}

/* Small numbers mostly, and the ones at the edges. */
static int64_t number(input *from) {
  static const int64_t edges[] = {INT64_MIN, INT64_MIN + 1, INT64_MAX,        INT64_MAX - 1,    INT64_MAX / 2,
                                  INT32_MAX, INT32_MIN,     (int64_t)1 << 32, (int64_t)1 << 61, -((int64_t)1 << 61)};
  const uint8_t kind = next(from);
  if (kind < 16) return edges[kind % (sizeof edges / sizeof *edges)];
  if (kind < 32) {
    uint64_t wide = 0;
    for (int index = 0; index < 8; index++) wide = wide << 8 | next(from);
    return (int64_t)wide;
  }
  return (int64_t)(kind % 12) - 3;
}

static int deleted;
static void delete_input(DLManagedTensorVersioned *self) {
  deleted++;
  free(self);
}

static void must(int holds) {
  if (!holds) abort();
}

/* Walks over the corners of the index space: no element may lie outside [lowest, highest). */
static void check_extent(int32_t ndim, const int64_t *shape, const int64_t *strides, uint32_t itemsize,
                         const ab__layout *layout) {
  if (layout->empty) return;
  for (unsigned corner = 0; corner < 256; corner++) {
    __int128 offset = 0;
    for (int32_t axis = 0; axis < ndim; axis++)
      if (corner >> axis % 8 & 1) offset += (__int128)strides[axis] * (shape[axis] - 1);
    must(offset >= layout->lowest && offset + itemsize <= layout->highest);
  }
  if (!layout->dense) return;
  __int128 bytes = itemsize;
  for (int32_t axis = 0; axis < ndim; axis++) bytes *= shape[axis];
  must(layout->lowest == 0 && layout->highest == bytes); /* dense: it fills its extent */
}

static void try_routes(input *from, ab_array_info *info, const ab__layout *layout, uint32_t itemsize, uint64_t bytes) {
  static ab_plugin_descriptor descriptor = {.name = "fuzz"};
  static ab_backend backend = {.descriptor = &descriptor};
  backend.vtable = &backend.slots;
  ab__ability take = {.supported = next(from) & 1, .dtypes = next(from) & 1 ? ~UINT64_C(0) : 0};
  take.stated = (ab_capabilities){.flags = next(from),
                                  .layout = next(from) % 4,
                                  .max_ndim = next(from) % 65,
                                  .alignment = 1u << next(from) % 13,
                                  .max_bytes = (uint64_t)number(from)};
  const ab__ability push = take;
  info->flags = next(from);
  info->mutability = next(from) % 4;
  info->device = (DLDevice){next(from) % 18, next(from) % 3};
  ab__situation at = {.source = &backend,
                      .target = &backend,
                      .info = info,
                      .layout = *layout,
                      .itemsize = itemsize,
                      .bytes = bytes,
                      .dtype = info->dtype,
                      .device = {next(from) % 18, next(from) % 3},
                      .take = &take,
                      .push = &push,
                      .flags = next(from),
                      .copy = next(from) % 3};
  for (int way = 0; way < AB__WAY_COUNT; way++) {
    if (ab__way_is_foreign(&at, &ab__ways[way])) continue;
    ab_step why = {.reason = ""};
    const int refused = ab__way_refused(&at, &ab__ways[way], &why);
    must(refused == ab__way_refused(&at, &ab__ways[way], NULL));
    must(refused == (why.reason[0] != '\0'));
  }
  ab_step why = {.reason = ""};
  const int refused = ab__share_refused(&at, info->data, layout, &why);
  must(refused == (why.reason[0] != '\0'));
  if (!refused && !layout->empty) must(!(take.stated.layout == AB_LAYOUT_C && !layout->dense_c));
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size) {
  static _Alignas(64) char memory[64];
  input from = {bytes, size};
  int64_t shape[AB_MAX_NDIM], strides[AB_MAX_NDIM];
  DLManagedTensorVersioned *tensor = calloc(1, sizeof *tensor);
  if (tensor == NULL) return 0;
  const int32_t ndim = next(&from) % 70 - 2;
  tensor->version = (DLPackVersion){next(&from) % 8 ? 1 : next(&from), next(&from)};
  tensor->flags = next(&from);
  tensor->deleter = delete_input;
  const uint8_t which = next(&from);
  tensor->dl_tensor = (DLTensor){
      .data = which & 1 ? memory + next(&from) % 64 : NULL,
      .device = {next(&from) % 18, next(&from) % 3},
      .ndim = ndim,
      .dtype =
          which & 2 ? ab__dtype_at(next(&from) % AB__DTYPE_COUNT) : (DLDataType){next(&from), next(&from), next(&from)},
      .shape = which & 4 ? NULL : shape,
      .strides = which & 8 ? NULL : strides,
      .byte_offset = which & 16 ? (uint64_t)number(&from) : 0,
  };
  for (int32_t axis = 0; axis < ndim && axis < AB_MAX_NDIM; axis++) {
    shape[axis] = number(&from);
    strides[axis] = number(&from);
  }
  deleted = 0;
  const ab_status status = ab__tensor_adopt(&tensor, NULL);
  must((status == AB_OK) == (tensor != NULL) && deleted == (status != AB_OK));
  if (tensor == NULL) return 0;

  const DLTensor *t = &tensor->dl_tensor;
  const uint32_t itemsize = ab_dtype_size(t->dtype);
  int64_t in_bytes[AB_MAX_NDIM];
  for (int32_t axis = 0; axis < t->ndim; axis++) in_bytes[axis] = t->strides[axis] * (int64_t)itemsize;
  ab__layout layout;
  uint64_t total = 0;
  must(ab__tensor_bytes(t->ndim, t->shape, itemsize, &total));
  if (ab__layout_of(t->ndim, t->shape, in_bytes, itemsize, &layout) == AB_OK) {
    check_extent(t->ndim, t->shape, in_bytes, itemsize, &layout);
    ab_array_info info = {.dtype = t->dtype, .ndim = t->ndim, .data = t->data};
    try_routes(&from, &info, &layout, itemsize, total);
  }
  /* As a framework might describe it: bytes, nothing checked before. */
  if (ab__layout_of(t->ndim, t->shape, strides, itemsize, &layout) == AB_OK)
    check_extent(t->ndim, t->shape, strides, itemsize, &layout);
  ab__tensor_delete(tensor);
  must(deleted == 1);
  return 0;
}
