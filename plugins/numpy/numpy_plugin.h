/* SPDX-License-Identifier: MIT
 * What the files of the NumPy plugin know of each other. */
#ifndef ARRAYBRIDGE_NUMPY_PLUGIN_H
#define ARRAYBRIDGE_NUMPY_PLUGIN_H

#include "numpy_api.h"

/// The core's services; set by create().
extern const ab_services *numpy_services;

/* numpy_type.c: which objects are ours */
int32_t numpy_recognizes(void *self, void *object, int32_t *holds_for_type);
/// 1 for arrays whose mask would be lost.
int numpy_is_masked(PyObject *array);

/* numpy_dtype.c */
/// The DLPack dtype of an array's elements; bits 0 if it has none.
DLDataType numpy_dtype_of(PyArrayObject *array);
/// Why a dtype without a counterpart cannot be converted. Static storage.
const char *numpy_dtype_why_not(PyArrayObject *array);
/// NumPy's dtype, new reference. AB_UNSUPPORTED if there is none, or ml_dtypes is missing.
ab_status numpy_dtype_descr(const ab_call *call, DLDataType dtype, PyArray_Descr **descr);
/// All that can be held. Static storage.
const DLDataType *numpy_dtype_list(uint32_t *count);
/// log2 of the size of one element.
static inline int numpy_dtype_shift(DLDataType dtype) { return __builtin_ctz(dtype.bits / 8u); }

/* numpy_describe.c */
ab_status numpy_describe(const ab_call *call, void *array, ab_array_info *info);
ab_status numpy_capabilities(const ab_call *call, DLDevice device, uint32_t slot, ab_capabilities *capabilities);
ab_status numpy_devices(const ab_call *call, ab_device_visitor visit, void *context);
/// NULL, or why the array's memory cannot be shared as it is. Static storage.
const char *numpy_unshareable(PyArrayObject *array, DLDataType dtype);

/* numpy_export.c */
/// A tensor over the array's memory, which must be shareable. Returns: AB_OK; AB_OOM.
ab_status numpy_share(PyArrayObject *array, DLDataType dtype, DLManagedTensorVersioned **tensor);
ab_status numpy_to_dlpack(const ab_call *call, void *array, DLManagedTensorVersioned **tensor);
ab_status numpy_to_host(const ab_call *call, void *array, DLManagedTensorVersioned **tensor);

/* numpy_import.c */
/// Most dimensions of the NumPy in use: 32 before 2.0.
int32_t numpy_max_ndim(void);
ab_status numpy_from_dlpack(const ab_call *call, DLManagedTensorVersioned *tensor, DLDevice device, int32_t *consumed,
                            void **array);
ab_status numpy_empty(const ab_call *call, const DLTensor *like, DLDevice device, void **array,
                      DLManagedTensorVersioned **writable);

/* numpy_cast.c */
/// A compact copy in native byte order, as a plain ndarray of `descr`, which is taken. New reference, or NULL with an
/// exception pending.
PyObject *numpy_copy_as(PyArrayObject *array, PyArray_Descr *descr);
ab_status numpy_cast(const ab_call *call, void *array, DLDataType dtype, void **result);

#endif /* ARRAYBRIDGE_NUMPY_PLUGIN_H */
