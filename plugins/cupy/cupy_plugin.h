/* SPDX-License-Identifier: MIT
 *
 * cupy_plugin.h: what the files of this plugin share. Every function needs the GIL; every PyObject is owned by the
 * framework table for as long as the process, unless its text says otherwise.
 */
#ifndef ARRAYBRIDGE_CUPY_PLUGIN_H
#define ARRAYBRIDGE_CUPY_PLUGIN_H

#include <abpy.h>

/* ------------------------------------------------------------------ CuPy, as far as it was found */

typedef struct cupy_framework {
  const ab_services *services;
  int started;
  int wears_hip;  ///< 1: built for ROCm
  int versioned;  ///< 1: __dlpack__ knows max_version, and from_dlpack takes versioned capsules (CuPy 14)
  int bfloat16;   ///< 1: knows ml_dtypes.bfloat16
  int32_t device_count;

  PyTypeObject *ndarray;     ///< cupy.ndarray; found in sys.modules, also before start()
  PyObject *module;          ///< cupy
  PyObject *runtime;         ///< cupy.cuda.runtime
  PyObject *get_device;      ///< cupy.cuda.runtime.getDevice
  PyObject *set_device;      ///< cupy.cuda.runtime.setDevice
  PyObject *current_stream;  ///< cupy.cuda.get_current_stream
  PyObject *stream_type;     ///< cupy.cuda.Stream
} cupy_framework;

/// Looks cupy.ndarray up, without importing. Returns 1 if it is known now.
int cupy_find_type(cupy_framework *cupy);
/// 1 if a GPU driver can be opened in this process, or is open already. Starts nothing.
int cupy_driver_present(void);
/// Imports CuPy and fills the table. Returns: AB_OK; AB_UNAVAILABLE with the reason.
ab_status cupy_bring_up(cupy_framework *cupy, const ab_call *call);

/// The pending exception as the status of a slot: AB_OOM where it says so, else AB_FRAMEWORK.
ab_status cupy_failed(const ab_call *call, const char *what);
/// Slot is_oom.
ab_status cupy_is_oom(void *self, const ab_failure *failure);

/// object.name as a number; `otherwise`, and no exception, if it is none.
int64_t cupy_number(PyObject *object, const char *name, int64_t otherwise);

/* ------------------------------------------------------------------ arrays */

int32_t cupy_recognizes(void *self, void *object, int32_t *holds_for_type);
ab_status cupy_describe(const ab_call *call, void *array, ab_array_info *info);
ab_status cupy_to_dlpack(const ab_call *call, void *array, DLManagedTensorVersioned **tensor);
ab_status cupy_to_host(const ab_call *call, void *array, DLManagedTensorVersioned **tensor);
/// Gives a tensor over `array`, which is on the current device, ordered against nothing.
ab_status cupy_share(cupy_framework *cupy, const ab_call *call, PyObject *array, DLManagedTensorVersioned **tensor);
/// The device of an array.
DLDevice cupy_device_of(const cupy_framework *cupy, PyObject *array);

ab_status cupy_capabilities(const ab_call *call, DLDevice device, uint32_t slot, ab_capabilities *capabilities);
ab_status cupy_from_dlpack(const ab_call *call, DLManagedTensorVersioned *tensor, DLDevice device, int32_t *consumed,
                           void **array);
ab_status cupy_from_host(const ab_call *call, const DLTensor *tensor, DLDevice device, void **array);
ab_status cupy_cast(const ab_call *call, void *array, DLDataType dtype, void **result);
ab_status cupy_empty(const ab_call *call, const DLTensor *like, DLDevice device, void **array,
                     DLManagedTensorVersioned **writable);

/* ------------------------------------------------------------------ devices and streams */

/// kDLCUDA, or kDLROCM in a CuPy for ROCm.
DLDeviceType cupy_accelerator(const cupy_framework *cupy);
/// 1 if `device` is one of CuPy's.
int cupy_has_device(const cupy_framework *cupy, DLDevice device);

/// Makes a device current; the end makes current what was before, and keeps a pending exception.
typedef struct cupy_scope {
  cupy_framework *cupy;
  long previous;  ///< -1: nothing to undo
} cupy_scope;
ab_status cupy_scope_begin(cupy_framework *cupy, const ab_call *call, DLDevice device, cupy_scope *scope);
void cupy_scope_end(cupy_scope *scope);

void cupy_device_uuid(const cupy_framework *cupy, int32_t device_id, uint8_t uuid[16]);
ab_status cupy_devices(const ab_call *call, ab_device_visitor visit, void *context);

/// Blocks until the current stream of the current device is done.
ab_status cupy_wait_here(cupy_framework *cupy, const ab_call *call);
ab_status cupy_current_stream(const ab_call *call, DLDevice device, ab_stream *stream);
ab_status cupy_make_stream(const ab_call *call, DLDevice device, ab_stream *stream);
ab_status cupy_adopt_stream(const ab_call *call, const ab_stream *stream, void **object);
void cupy_drop_stream(void *self, void *object);
ab_status cupy_enter_stream(const ab_call *call, void *object, void **token);
void cupy_exit_stream(void *self, void *token);
ab_status cupy_fence(const ab_call *call, DLDevice device, uint32_t scope, const ab_stream *stream, uint32_t *covered);
ab_status cupy_finish(const ab_call *call, DLDevice device, uint32_t scope, uint32_t *covered);

ab_status cupy_clear_cache(const ab_call *call, DLDevice device, uint32_t flags, uint64_t *to_driver,
                           uint64_t *to_pool);
ab_status cupy_memory_info(const ab_call *call, DLDevice device, ab_memory_info *info);

#endif /* ARRAYBRIDGE_CUPY_PLUGIN_H */
