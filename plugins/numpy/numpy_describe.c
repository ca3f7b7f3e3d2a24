/* SPDX-License-Identifier: MIT
 * What an array is, and what NumPy takes. */
#include "numpy_plugin.h"

#include <unistd.h>

static const char mask_lost[] = "a masked array's mask would be lost; pass x.filled(value) or x.data";

/* ------------------------------------------------------------------ one array */

/// 1 if every step along an axis is a whole number of elements. (Steps along axes of one element are never made.)
static int strides_are_whole(PyArrayObject *array, DLDataType dtype) {
  const npy_intp *strides = PyArray_STRIDES(array), *shape = PyArray_DIMS(array);
  const npy_intp mask = (npy_intp)(dtype.bits / 8) - 1;
  for (int axis = 0; axis < PyArray_NDIM(array); axis++) {
    if ((strides[axis] & mask) != 0 && shape[axis] > 1) return 0;
  }
  return 1;
}

const char *numpy_unshareable(PyArrayObject *array, DLDataType dtype) {
  if (!PyArray_ISNOTSWAPPED(array)) return "its bytes are in the other order";
  if (!strides_are_whole(array, dtype)) return "its strides are no whole numbers of elements";
  return NULL;
}

/// Shape and strides; returns 1 if there are elements.
static int describe_layout(PyArrayObject *array, ab_array_info *info) {
  const npy_intp *shape = PyArray_DIMS(array), *strides = PyArray_STRIDES(array);
  int has_elements = 1;
  info->ndim = PyArray_NDIM(array);
  for (int axis = 0; axis < info->ndim; axis++) {
    info->shape[axis] = shape[axis];
    info->strides[axis] = strides[axis];
    has_elements &= shape[axis] != 0;
  }
  return has_elements;
}

static ab_status describe_inconvertible(ab_array_info *info, const char *why_not) {
  info->flags |= AB_INFO_NOT_CONVERTIBLE | AB_INFO_NOT_SHAREABLE;
  info->why_not = why_not;
  return AB_OK;
}

ab_status numpy_describe(const ab_call *call, void *object, ab_array_info *info) {
  PyArrayObject *array = object;
  const int has_elements = describe_layout(array, info);
  info->flags = AB_INFO_HOST_ACCESSIBLE;
  info->device = (DLDevice){kDLCPU, 0};
  info->mutability = PyArray_CHKFLAGS(array, NPY_ARRAY_WRITEABLE) ? AB_MUTABLE : AB_READ_ONLY;
  info->dtype = numpy_dtype_of(array);
  if (info->dtype.bits == 0) return describe_inconvertible(info, numpy_dtype_why_not(array));
  if (numpy_is_masked(object)) return describe_inconvertible(info, mask_lost);

  info->data = has_elements ? PyArray_DATA(array) : NULL;
  const char *why_not = numpy_unshareable(array, info->dtype);
  if (why_not != NULL) {
    info->flags |= AB_INFO_NOT_SHAREABLE | (PyArray_ISNOTSWAPPED(array) ? 0 : AB_INFO_BYTE_SWAPPED);
    info->why_not = why_not;
    return AB_OK;
  }
  if ((call->flags & AB_CALL_WANT_TENSOR) == 0) return AB_OK;
  call->report->flags |= AB_REPORT_SHARED;
  return numpy_share(array, info->dtype, &info->tensor);
}

/* ------------------------------------------------------------------ NumPy as a target */

ab_status numpy_capabilities(const ab_call *call, DLDevice device, uint32_t slot, ab_capabilities *capabilities) {
  if (device.device_type != kDLCPU || device.device_id != 0) {
    return ab_fail(call, AB_UNSUPPORTED, "NumPy arrays are on the host only");
  }
  if (slot != AB_SLOT_FROM_DLPACK) return ab_fail(call, AB_UNSUPPORTED, "NumPy shares host memory instead");
  ab_capabilities found = {
      .struct_size = (uint32_t)sizeof found,
      .flags = AB_ACCEPTS_BYTE_OFFSET | AB_ACCEPTS_EMPTY | AB_ACCEPTS_ZERO_DIM | AB_CARRIES_READ_ONLY,
      .layout = AB_LAYOUT_ANY,
      .max_ndim = numpy_max_ndim(),
      .alignment = 1,
      .tensor_devices = 1u << kDLCPU | 1u << kDLCUDAHost | 1u << kDLROCMHost,
      .plugin_flags = AB_PLUGIN_DELETER_ANY_THREAD,
  };
  found.dtypes = numpy_dtype_list(&found.dtype_count);
  ab_struct_fill(capabilities, &found, (uint32_t)sizeof found);
  return AB_OK;
}

ab_status numpy_devices(const ab_call *call, ab_device_visitor visit, void *context) {
  (void)call;
  const long pages = sysconf(_SC_PHYS_PAGES), page_bytes = sysconf(_SC_PAGESIZE);
  const ab_device_info host = {
      .struct_size = (uint32_t)sizeof host,
      .flags = AB_DEVICE_DEFAULT,
      .device = {kDLCPU, 0},
      .name = "host",
      .memory_bytes = pages > 0 && page_bytes > 0 ? (uint64_t)pages * (uint64_t)page_bytes : 0,
  };
  visit(context, &host);
  return AB_OK;
}
