/* SPDX-License-Identifier: MIT
 * A whole plugin that only gives arrays: describe, share, count references. No language, no lock. */
#include <arraybridge/plugin.h>

#include "samples.h"

static const ab_services *services;

static int32_t recognizes(void *self, void *object, int32_t *holds_for_type) {
  (void)self;
  (void)holds_for_type; /* C objects have no type to remember */
  return ((const samples *)object)->magic == SAMPLES_MAGIC;
}

static ab_status describe(const ab_call *call, void *array, ab_array_info *info) {
  (void)call;
  const samples *s = array;
  info->flags = AB_INFO_HOST_ACCESSIBLE;
  info->dtype = (DLDataType){kDLFloat, 32, 1};
  info->device = (DLDevice){kDLCPU, 0};
  info->ndim = 1;
  info->shape[0] = s->count;
  info->strides[0] = s->step * (int64_t)sizeof(float); /* bytes */
  info->data = s->first;
  return AB_OK;
}

static void retain(void *self, void *array) {
  (void)self;
  ((samples *)array)->references++;
}

static void release(void *self, void *array) {
  (void)self;
  ((samples *)array)->references--;
}

static void drop(void *owner) { release(NULL, owner); }

static ab_status to_dlpack(const ab_call *call, void *array, DLManagedTensorVersioned **tensor) {
  samples *s = array;
  const ab_status status = services->tensor_new(services->core, 1, 0, s, drop, tensor);
  if (status != AB_OK) return ab_fail(call, status, "no memory for a tensor");
  retain(NULL, s);
  DLTensor *t = &(*tensor)->dl_tensor;
  t->data = s->first;
  t->dtype = (DLDataType){kDLFloat, 32, 1};
  t->shape[0] = s->count;
  t->strides[0] = s->step; /* elements */
  return AB_OK;
}

static ab_status capabilities(const ab_call *call, DLDevice device, uint32_t slot, ab_capabilities *answer) {
  (void)device;
  (void)slot;
  (void)answer;
  return ab_fail(call, AB_UNSUPPORTED, "samples come from a camera; they cannot be made");
}

static const ab_plugin_vtable vtable = {
    .struct_size = sizeof vtable,
    .to_dlpack = to_dlpack,
    .recognizes = recognizes,
    .describe = describe,
    .capabilities = capabilities,
    .retain = retain,
    .release = release,
};

static ab_status create(const ab_services *given, ab_plugin *plugin, ab_error *error) {
  (void)error;
  services = given;
  plugin->vtable = &vtable;
  return AB_OK;
}

AB_PLUGIN_DEFINE = {
    .struct_size = sizeof(ab_plugin_descriptor),
    .abi_major = AB_ABI_MAJOR,
    .abi_minor = AB_ABI_MINOR,
    .name = "samples",
    .version = "1.0",
    .licence = "MIT",
    .runtime_abi = "",
    .create = create,
};
