/* SPDX-License-Identifier: MIT */
#include "device/device.h"

#include "device/cuda.h"
#include "device/opencl.h"

#include <arraybridge/arraybridge.h>

static const struct {
  DLDeviceType type;
  const ab_device_ops *ops;
} layers[] = {
    {kDLCPU, &ab__host_ops},      {kDLOpenCL, &ab__opencl_ops},    {kDLCUDA, &ab__cuda_ops},
    {kDLCUDAHost, &ab__cuda_ops}, {kDLCUDAManaged, &ab__cuda_ops},
};

const ab_device_ops *ab__device_ops(DLDeviceType type) {
  for (size_t index = 0; index < sizeof layers / sizeof *layers; index++)
    if (layers[index].type == type) return layers[index].ops;
  return NULL;
}

ab_status ab__device_prepare(ab_error *error) {
  for (size_t index = 0; index < sizeof layers / sizeof *layers; index++) {
    const ab_device_ops *ops = layers[index].ops;
    if (ops->prepare == NULL) continue;
    ab_report report = {.struct_size = (uint32_t)sizeof report};
    const ab_call call = {.struct_size = (uint32_t)sizeof call, .self = ops->self, .report = &report, .error = error};
    const ab_status status = ops->prepare(&call);
    if (status != AB_OK && status != AB_UNAVAILABLE) return status;
  }
  return AB_OK;
}

typedef struct vendor_visit {
  ab_vendor_visitor visit;
  void *context;
} vendor_visit;

static void show_vendor(void *context, const ab__opencl_vendor *vendor) {
  const vendor_visit *to = context;
  const ab_vendor shown = {.struct_size = (uint32_t)sizeof shown,
                           .loaded = vendor->loaded,
                           .isolated = vendor->opened_by_us,
                           .path = vendor->path,
                           .library = vendor->library};
  to->visit(to->context, &shown);
}

ab_status ab_vendors(ab_vendor_visitor visit, void *context, ab_error *error) {
  vendor_visit to = {.visit = visit, .context = context};
  return ab__opencl_visit_vendors(show_vendor, &to, error);
}
