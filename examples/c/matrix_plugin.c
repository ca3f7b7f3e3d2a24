/* SPDX-License-Identifier: MIT
 * A plugin that takes arrays: it says what it can take, and the core sees to it that nothing else arrives. */
#include <stdlib.h>

#include <arraybridge/plugin.h>

#include "matrix.h"

static int32_t recognizes(void *self, void *object, int32_t *holds_for_type) {
  (void)self;
  (void)holds_for_type;
  return ((const matrix *)object)->magic == MATRIX_MAGIC;
}

static ab_status describe(const ab_call *call, void *array, ab_array_info *info) {
  (void)call;
  const matrix *m = array;
  info->flags = AB_INFO_HOST_ACCESSIBLE;
  info->dtype = (DLDataType){kDLFloat, 32, 1};
  info->device = (DLDevice){kDLCPU, 0};
  info->ndim = 2;
  info->shape[0] = m->rows;
  info->shape[1] = m->columns;
  info->strides[0] = m->columns * (int64_t)sizeof(float);
  info->strides[1] = sizeof(float);
  info->data = m->cells;
  return AB_OK;
}

static ab_status capabilities(const ab_call *call, DLDevice device, uint32_t slot, ab_capabilities *answer) {
  static const DLDataType dtypes[] = {{kDLFloat, 32, 1}};
  if (device.device_type != kDLCPU || slot != AB_SLOT_FROM_DLPACK)
    return ab_fail(call, AB_UNSUPPORTED, "a matrix lies in host memory");
  answer->flags = AB_ACCEPTS_EMPTY;
  answer->dtypes = dtypes;
  answer->dtype_count = 1;
  answer->layout = AB_LAYOUT_C;
  answer->max_ndim = 2;
  answer->alignment = 64;
  return AB_OK;
}

static ab_status from_dlpack(const ab_call *call, DLManagedTensorVersioned *tensor, DLDevice device, int32_t *consumed,
                             void **array) {
  (void)device;
  (void)consumed; /* stays 0: a tensor that is refused is still the caller's */
  const DLTensor *t = &tensor->dl_tensor;
  if (t->ndim == 0) return ab_fail(call, AB_UNSUPPORTED, "a matrix has rows");
  matrix *m = malloc(sizeof *m);
  if (m == NULL) return ab_fail(call, AB_OOM, "no memory for a matrix");
  *m = (matrix){.magic = MATRIX_MAGIC, .references = 1, .cells = t->data, .memory = tensor};
  m->rows = t->ndim == 2 ? t->shape[0] : 1;
  m->columns = t->shape[t->ndim - 1];
  *array = m;
  return AB_OK;
}

static void retain(void *self, void *array) {
  (void)self;
  ((matrix *)array)->references++;
}

static void release(void *self, void *array) {
  (void)self;
  matrix *m = array;
  if (--m->references > 0) return;
  m->memory->deleter(m->memory);
  free(m);
}

static const ab_plugin_vtable vtable = {
    .struct_size = sizeof vtable,
    .from_dlpack = from_dlpack,
    .recognizes = recognizes,
    .describe = describe,
    .capabilities = capabilities,
    .retain = retain,
    .release = release,
};

static ab_status create(const ab_services *services, ab_plugin *plugin, ab_error *error) {
  (void)services;
  (void)error;
  plugin->vtable = &vtable;
  return AB_OK;
}

AB_PLUGIN_DEFINE = {
    .struct_size = sizeof(ab_plugin_descriptor),
    .abi_major = AB_ABI_MAJOR,
    .abi_minor = AB_ABI_MINOR,
    .name = "matrix",
    .version = "1.0",
    .licence = "MIT",
    .runtime_abi = "",
    .create = create,
};
