/* SPDX-License-Identifier: MIT
 *
 * jax_plugin.h: what the files of the JAX plugin share. Everything here needs the GIL.
 */
#ifndef ARRAYBRIDGE_JAX_PLUGIN_H
#define ARRAYBRIDGE_JAX_PLUGIN_H

#include <abpy.h>

/// The core's services, set by create().
extern const ab_services *jax_services;

/* ------------------------------------------------------------------ types */

/// The types by which JAX's objects are known. Kept for the life of the process.
typedef struct jax_types {
  PyTypeObject *array_impl;  ///< what every concrete array is, exactly
  PyTypeObject *array;       ///< jax.Array: also of random keys
  PyTypeObject *tracer;
} jax_types;

/// NULL until the process has imported JAX. Imports nothing.
const jax_types *jax_types_find(void);
int32_t jax_recognizes(void *self, void *object, int32_t *holds_for_type);

/* ------------------------------------------------------------------ dtypes */

/// X(name as NumPy and ml_dtypes have it, DLPack code, bits): the dtypes that JAX holds and that DLPack carries.
#define JAX_DTYPE_MAP(X)                            \
  X("float32", kDLFloat, 32)                        \
  X("bool", kDLBool, 8)                             \
  X("uint8", kDLUInt, 8)                            \
  X("uint16", kDLUInt, 16)                          \
  X("uint32", kDLUInt, 32)                          \
  X("uint64", kDLUInt, 64)                          \
  X("int8", kDLInt, 8)                              \
  X("int16", kDLInt, 16)                            \
  X("int32", kDLInt, 32)                            \
  X("int64", kDLInt, 64)                            \
  X("float16", kDLFloat, 16)                        \
  X("bfloat16", kDLBfloat, 16)                      \
  X("float64", kDLFloat, 64)                        \
  X("complex64", kDLComplex, 64)                    \
  X("complex128", kDLComplex, 128)                  \
  X("float8_e4m3fn", kDLFloat8_e4m3fn, 8)           \
  X("float8_e5m2", kDLFloat8_e5m2, 8)               \
  X("float8_e3m4", kDLFloat8_e3m4, 8)               \
  X("float8_e4m3", kDLFloat8_e4m3, 8)               \
  X("float8_e4m3b11fnuz", kDLFloat8_e4m3b11fnuz, 8) \
  X("float8_e4m3fnuz", kDLFloat8_e4m3fnuz, 8)       \
  X("float8_e5m2fnuz", kDLFloat8_e5m2fnuz, 8)       \
  X("float8_e8m0fnu", kDLFloat8_e8m0fnu, 8)

enum {
#define JAX_DTYPE_ONE(name, code, bits) +1
  JAX_DTYPE_COUNT = 0 JAX_DTYPE_MAP(JAX_DTYPE_ONE)
#undef JAX_DTYPE_ONE
};

/// Those dtypes, in the order of the map.
extern const DLDataType jax_dtypes[JAX_DTYPE_COUNT];

/// Fills `objects` with NumPy's dtype objects (new references); NULL where this JAX has none.
void jax_dtype_objects(PyObject *numpy, PyObject *objects[JAX_DTYPE_COUNT]);
/// Reads a dtype object. Returns 0 if DLPack has no such dtype.
int jax_dtype_read(PyObject *object, DLDataType *dtype);
/// The dtype object, borrowed; NULL if JAX has no such dtype.
PyObject *jax_dtype_object(DLDataType dtype);
/// Reads the format of a buffer ("=f", "=Zd"). Returns 0 if it is not known.
int jax_dtype_of_format(const char *format, Py_ssize_t itemsize, DLDataType *dtype);

/* ------------------------------------------------------------------ the framework */

/// What start() took out of JAX. Never changes afterwards, and is kept for the life of the process.
typedef struct jax_framework {
  const jax_types *types;
  PyObject *module;  ///< jax
  PyObject *bridge;  ///< jax._src.xla_bridge, or NULL
  PyObject *numpy;
  PyObject *import_buffer;    ///< jaxlib's own import; NULL: the public one is used
  PyObject *export_buffer;    ///< jaxlib's own export; NULL: the public one is used
  PyObject *from_dlpack;      ///< jax.dlpack.from_dlpack
  PyObject *local_devices;    ///< jax.local_devices
  PyObject *enable_x64;       ///< jax.enable_x64, a context manager for one thread
  PyObject *cpu_keyword;      ///< {"backend": "cpu"}
  PyObject *no_arguments;     ///< ()
  PyObject *default_backend;  ///< "_default_backend"
  PyObject *dtypes[JAX_DTYPE_COUNT];
} jax_framework;

ab_status jax_probe(const ab_call *call, ab_framework_info *info);
/// 1 if JAX is imported and has started none of its backends: whatever asks for devices would be the first to do so.
int jax_is_idle(void);
ab_status jax_start(const ab_call *call);
/// What start() found. Never NULL in a slot that is called after start().
const jax_framework *jax_get(void);

/// 64-bit dtypes for the calling thread, between enter and leave. Enter gives NULL with an exception set; leave takes
/// the scope and keeps a pending exception.
PyObject *jax_x64_enter(void);
void jax_x64_leave(PyObject *scope);

/* ------------------------------------------------------------------ devices */

/// The number JAX's device has in DLPack. TPUs and the like are kDLExtDev. Returns 0 if it has none, or with an
/// exception pending.
int jax_device_read(PyObject *device, DLDevice *out);
/// JAX's device of that number. New reference; NULL: call->error says why, its status is to be returned.
PyObject *jax_device_find(const ab_call *call, DLDevice device);
/// 1 if this process has one CPU device and there is no other process: then each array that shows a buffer is on it.
int jax_single_cpu(void);
/// Where the array is, for an array on one device of this process.
/// Returns: AB_OK; AB_UNSUPPORTED on several devices, or not reachable from here: `*why_not` says so; AB_FRAMEWORK with
/// an exception pending, for jax_error().
ab_status jax_device_of_array(PyObject *array, DLDevice *device, int *fully_addressable, const char **why_not);
ab_status jax_devices(const ab_call *call, ab_device_visitor visit, void *context);
ab_status jax_capabilities(const ab_call *call, DLDevice device, uint32_t slot, ab_capabilities *capabilities);

/* ------------------------------------------------------------------ arrays */

/// Makes a tensor that shares the buffer `object` shows, and waits for work pending on it. With `dtype` the elements
/// are read as that, else as the buffer's format says. Returns 0 if it shows none; no exception set.
int jax_buffer_tensor(PyObject *object, const DLDataType *dtype, DLManagedTensorVersioned **tensor);
/// The same for an array on one CPU device of this process, with the number of that device.
int jax_share_host(PyObject *array, DLManagedTensorVersioned **tensor);
/// Gives what x.NAME() gives. New reference, or NULL with an exception.
PyObject *jax_call_method(PyObject *object, const char *name);
/// 1 if the array was deleted or donated.
int jax_is_deleted(PyObject *array);
#define JAX_DELETED "the array was deleted or donated; convert it before, or keep a copy (jnp.copy)"
/// Exports an array that is on one device of this process, `device`, ordered before call->stream.
ab_status jax_export_tensor(const ab_call *call, PyObject *array, DLDevice device, DLManagedTensorVersioned **tensor);

ab_status jax_describe(const ab_call *call, void *array, ab_array_info *info);
ab_status jax_to_dlpack(const ab_call *call, void *array, DLManagedTensorVersioned **tensor);
ab_status jax_from_dlpack(const ab_call *call, DLManagedTensorVersioned *tensor, DLDevice device, int32_t *consumed,
                          void **array);
ab_status jax_to_host(const ab_call *call, void *array, DLManagedTensorVersioned **tensor);
ab_status jax_from_host(const ab_call *call, const DLTensor *tensor, DLDevice device, void **array);
ab_status jax_cast(const ab_call *call, void *array, DLDataType dtype, void **result);

/* ------------------------------------------------------------------ pending work and memory */

/// The pending exception as an error: AB_OOM if it is JAX's out-of-memory, else `status`.
ab_status jax_error(const ab_call *call, ab_status status, const char *what);
ab_status jax_is_oom(void *self, const ab_failure *failure);
ab_status jax_clear_cache(const ab_call *call, DLDevice device, uint32_t flags, uint64_t *to_driver, uint64_t *to_pool);
ab_status jax_memory_info(const ab_call *call, DLDevice device, ab_memory_info *info);
ab_status jax_make_stream(const ab_call *call, DLDevice device, ab_stream *stream);
ab_status jax_current_stream(const ab_call *call, DLDevice device, ab_stream *stream);
ab_status jax_import_stream(const ab_call *call, DLDevice device, ab_stream *stream);
ab_status jax_fence(const ab_call *call, DLDevice device, uint32_t scope, const ab_stream *stream, uint32_t *covered);
ab_status jax_finish(const ab_call *call, DLDevice device, uint32_t scope, uint32_t *covered);

#endif
