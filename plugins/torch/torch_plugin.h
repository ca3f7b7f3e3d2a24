/* SPDX-License-Identifier: MIT
 *
 * torch_plugin.h: what the files of this plugin share. Every function needs the GIL; every PyObject is owned by the
 * framework table for as long as the process, unless its text says otherwise.
 */
#ifndef ARRAYBRIDGE_TORCH_PLUGIN_H
#define ARRAYBRIDGE_TORCH_PLUGIN_H

#include <abpy.h>

/* ------------------------------------------------------------------ torch, as far as it was found */

typedef struct torch_framework {
  const ab_services *services;
  int started;
  int wears_hip;  ///< 1: this torch speaks to ROCm, and its "cuda" devices are kDLROCM

  PyTypeObject *tensor;     ///< torch.Tensor; found in sys.modules, also before start()
  PyTypeObject *parameter;  ///< torch.nn.Parameter

  const DLPackExchangeAPI *exchange;  ///< torch's C exchange table; NULL: public attributes and capsules are used

  PyObject *module;  ///< torch
  PyObject *cuda;    ///< torch.cuda
  PyObject *is_neg;  ///< unbound methods of torch.Tensor
  PyObject *is_conj;
  PyObject *untyped_storage;
  PyObject *as_subclass;
  PyObject *raw_functions;   ///< torch._C.DisableTorchFunctionSubclass; NULL in old releases
  PyObject *plain_dispatch;  ///< torch.Tensor.__torch_dispatch__: what a subclass has if it does not change it
  PyObject *uninitialized;   ///< torch.nn.parameter.UninitializedTensorMixin; may be NULL
  PyObject *is_functorch;    ///< torch._C._functorch.is_functorch_wrapped_tensor; may be NULL
  PyObject *name_dtype;      ///< interned "dtype" and "requires_grad"
  PyObject *name_requires_grad;
} torch_framework;

/// Looks torch.Tensor up, without importing. Returns 1 if it is known now.
int torch_find_types(torch_framework *torch);
/// Fills the table. Returns: AB_OK; AB_UNAVAILABLE; AB_INCOMPATIBLE when this torch lacks what the plugin needs.
ab_status torch_bring_up(torch_framework *torch, const ab_call *call);

/// The pending exception as the status of a slot: AB_OOM where it says so, else AB_FRAMEWORK.
ab_status torch_failed(const ab_call *call, const char *what);
/// Slot is_oom.
ab_status torch_is_oom(void *self, const ab_failure *failure);

/* ------------------------------------------------------------------ dtypes */

/// Finds the dtype objects of this torch.
void torch_dtype_bring_up(PyObject *module);
/// torch's object for a dtype, borrowed; NULL if this torch has none.
PyObject *torch_dtype_object(DLDataType dtype);
/// The dtype of torch's object; bits 0 if it is none of ours (quantised, complex32, uint4 …).
DLDataType torch_dtype_of(PyObject *object);
/// All that this torch has. Static storage.
const DLDataType *torch_dtype_list(uint32_t *count);

/* ------------------------------------------------------------------ looking at a tensor */

/// What was seen of one tensor.
typedef struct torch_sight {
  PyObject *plain;                   ///< owned: the array, or its view as an exact torch.Tensor
  PyObject *storage;                 ///< owned: what keeps the elements alive; NULL unless asked for
  uint32_t info;                     ///< AB_INFO_CONJUGATED, AB_INFO_NEGATED, AB_INFO_GRADIENT
  const char *why_not;               ///< not NULL: cannot be converted at all
  DLTensor tensor;                   ///< shape and strides (elements) are valid until the GIL is given up
  int64_t extents[2 * AB_MAX_NDIM];  ///< storage for them where torch's table is not used
} torch_sight;

enum { TORCH_WITH_STORAGE = 1u << 0, TORCH_WITH_GRADIENT = 1u << 1 };

/// Looks at `array`. On AB_OK `sight` must be given to torch_sight_end().
ab_status torch_look(torch_framework *torch, const ab_call *call, PyObject *array, uint32_t wanted, torch_sight *sight);
void torch_sight_end(torch_sight *sight);
/// Why to_dlpack() must refuse what was seen; NULL if it need not. Static storage.
const char *torch_unshareable(const torch_framework *torch, const torch_sight *sight);

int32_t torch_recognizes(void *self, void *object, int32_t *holds_for_type);
ab_status torch_describe(const ab_call *call, void *array, ab_array_info *info);

/* ------------------------------------------------------------------ out and in */

/// Gives a tensor around what was seen (with TORCH_WITH_STORAGE); takes sight->storage.
ab_status torch_share(torch_framework *torch, const ab_call *call, torch_sight *sight,
                      DLManagedTensorVersioned **tensor);
ab_status torch_to_dlpack(const ab_call *call, void *array, DLManagedTensorVersioned **tensor);
ab_status torch_to_host(const ab_call *call, void *array, DLManagedTensorVersioned **tensor);

ab_status torch_capabilities(const ab_call *call, DLDevice device, uint32_t slot, ab_capabilities *capabilities);
ab_status torch_from_dlpack(const ab_call *call, DLManagedTensorVersioned *tensor, DLDevice device, int32_t *consumed,
                            void **array);
ab_status torch_from_host(const ab_call *call, const DLTensor *tensor, DLDevice device, void **array);
ab_status torch_cast(const ab_call *call, void *array, DLDataType dtype, void **result);
ab_status torch_empty(const ab_call *call, const DLTensor *like, DLDevice device, void **array,
                      DLManagedTensorVersioned **writable);

/* ------------------------------------------------------------------ devices and streams */

/// kDLCUDA, or kDLROCM in a torch for ROCm.
DLDeviceType torch_accelerator(const torch_framework *torch);
/// 1 if torch's CUDA is in use in this process already. Starts nothing.
int torch_cuda_awake(const torch_framework *torch);
/// Brings CUDA up for `device`. Returns: AB_OK; AB_NO_DEVICE.
ab_status torch_cuda_wake(torch_framework *torch, const ab_call *call, DLDevice device);
/// The UUID of a device; all zero where it cannot be told without starting CUDA.
void torch_cuda_uuid(const torch_framework *torch, int32_t device_id, uint8_t uuid[16]);
/// torch.device(…). New reference, or NULL with the exception pending.
PyObject *torch_device_object(const torch_framework *torch, DLDevice device);
ab_status torch_devices(const ab_call *call, ab_device_visitor visit, void *context);

/// Orders torch's current stream on `device` before the next work on `stream`; with NULL the host waits.
ab_status torch_order_before(torch_framework *torch, const ab_call *call, DLDevice device, const ab_stream *stream);
ab_status torch_current_stream(const ab_call *call, DLDevice device, ab_stream *stream);
ab_status torch_make_stream(const ab_call *call, DLDevice device, ab_stream *stream);
ab_status torch_adopt_stream(const ab_call *call, const ab_stream *stream, void **object);
void torch_drop_stream(void *self, void *object);
ab_status torch_enter_stream(const ab_call *call, void *object, void **token);
void torch_exit_stream(void *self, void *token);
ab_status torch_mark_use(const ab_call *call, void *array, const ab_stream *stream);
ab_status torch_fence(const ab_call *call, DLDevice device, uint32_t scope, const ab_stream *stream, uint32_t *covered);
ab_status torch_finish(const ab_call *call, DLDevice device, uint32_t scope, uint32_t *covered);

ab_status torch_clear_cache(const ab_call *call, DLDevice device, uint32_t flags, uint64_t *to_driver,
                            uint64_t *to_pool);
ab_status torch_memory_info(const ab_call *call, DLDevice device, ab_memory_info *info);

#endif /* ARRAYBRIDGE_TORCH_PLUGIN_H */
