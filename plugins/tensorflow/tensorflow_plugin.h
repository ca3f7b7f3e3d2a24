/* SPDX-License-Identifier: MIT
 *
 * tensorflow_plugin.h: what the files of this plugin share. The nouns: kind (what an object is), place (where a tensor
 * lies), framework (what was found in TensorFlow), and the slots of the vtable.
 */
#ifndef ARRAYBRIDGE_TENSORFLOW_PLUGIN_H
#define ARRAYBRIDGE_TENSORFLOW_PLUGIN_H

#include <abpy.h>

/* ------------------------------------------------------------------ kinds of objects */

typedef enum tf_kind {
  TF_EAGER,
  TF_VARIABLE,
  TF_KERAS_VARIABLE,
  TF_SYMBOLIC,
  TF_KERAS_TENSOR,
  TF_SPARSE,
  TF_RAGGED,
  TF_SLICES,
  TF_KIND_COUNT,
  TF_FOREIGN = TF_KIND_COUNT
} tf_kind;

/// What `object` is to TensorFlow. Imports nothing.
tf_kind ab_tf_kind(PyObject *object);
/// Why an object of this kind has no elements to convert, and the way out; NULL if it has. Static storage.
const char *ab_tf_kind_why_not(tf_kind kind);
/// 1 if `object` is an EagerTensor. TensorFlow allows no subclasses of it.
int ab_tf_is_eager(PyObject *object);

/* ------------------------------------------------------------------ dtypes */

typedef enum tf_way {
  TF_WAY_NONE,    ///< cannot be carried
  TF_WAY_DLPACK,  ///< TensorFlow's DLPack calls take it
  TF_WAY_NUMPY    ///< only through a NumPy array (float8: TensorFlow's DLPack has none)
} tf_way;

typedef struct tf_dtype {
  tf_way way;
  DLDataType dtype;
  const char *why_not;  ///< with TF_WAY_NONE
} tf_dtype;

/// The dtype with TensorFlow's number `number` (DT_FLOAT is 1).
tf_dtype ab_tf_dtype(long number);
/// TensorFlow's number of a dtype, and by which way it enters; 0 if TensorFlow cannot hold it.
long ab_tf_dtype_number(DLDataType dtype, tf_way *way);
/// Every dtype that TensorFlow holds exactly and this plugin carries. Static storage.
const DLDataType *ab_tf_dtypes(uint32_t *count);
/// Gives the dtype of an EagerTensor, which may be one that cannot be carried.
ab_status ab_tf_eager_dtype(const ab_call *call, PyObject *tensor, tf_dtype *dtype);

/* ------------------------------------------------------------------ the framework */

typedef struct tf_framework {
  const ab_services *services;
  PyObject *tensorflow;      ///< the module
  PyTypeObject *eager_type;  ///< EagerTensor
  PyObject *datatype_enum;   ///< EagerTensor._datatype_enum, unbound
  PyObject *shape_tuple;     ///< EagerTensor._shape_tuple, unbound
  PyObject *backing_device;  ///< "backing_device", interned
  PyObject *give_capsule;    ///< tensor to capsule
  PyObject *take_capsule;    ///< capsule to tensor
  PyObject *context_module;  ///< tensorflow.python.eager.context
  PyObject *context_name;    ///< "_context", interned
  PyObject *handle_name;     ///< "_context_handle", interned
  int public_only;           ///< the private calls are not wanted
  int private_calls;         ///< give_capsule and take_capsule are the private ones
  int started;
  int connected;  ///< TensorFlow's context is alive, and what follows is known
  int32_t gpu_count;
  char address[128];  ///< "/job:localhost/replica:0/task:0": how names of this process's devices begin
} tf_framework;

/// Of this process. Filled in by create(), start() and ab_tf_connect().
extern tf_framework ab_tf;

/// Imports TensorFlow. Its context stays asleep, so that the user can still configure devices.
ab_status ab_tf_start(const ab_call *call);
ab_status ab_tf_probe(const ab_call *call, ab_framework_info *info);
/// Wakes TensorFlow's context, once, and looks at its devices.
ab_status ab_tf_connect(const ab_call *call);
/// Gives what a call of TensorFlow returned if it is an EagerTensor: inside tf.function most calls return symbols.
/// Takes `result`, which may be NULL with an exception pending.
ab_status ab_tf_need_eager(const ab_call *call, PyObject *result, const char *what, PyObject **tensor);
/// A capsule of an EagerTensor on this machine; NULL with an exception pending. Its dtype must be TF_WAY_DLPACK.
PyObject *ab_tf_give(PyObject *tensor);
/// An EagerTensor from a capsule without a version; NULL with an exception pending.
PyObject *ab_tf_take(PyObject *capsule);

/* ------------------------------------------------------------------ places */

typedef enum tf_place_kind { TF_PLACE_HOST, TF_PLACE_GPU, TF_PLACE_ELSEWHERE } tf_place_kind;

typedef struct tf_place {
  tf_place_kind kind;
  DLDevice device;  ///< device_type 0 with TF_PLACE_ELSEWHERE
} tf_place;

/// Where the elements of an EagerTensor or a variable lie. Needs ab_tf_connect().
tf_place ab_tf_place(PyObject *array);
/// Gives a copy of the EagerTensor `tensor` on `device`, not recorded for gradients.
ab_status ab_tf_copy_to(const ab_call *call, PyObject *tensor, DLDevice device, PyObject **copy);
/// 1 if TensorFlow has arrays there.
int ab_tf_has_device(DLDevice device);
/// Waits for all of TensorFlow's work.
ab_status ab_tf_wait(const ab_call *call, DLDevice device);

/* ------------------------------------------------------------------ host memory */

/// Gives a tensor with a copy of the C-contiguous host tensor `source` in memory of the core.
ab_status ab_tf_host_copy(const ab_call *call, const DLTensor *source, DLManagedTensorVersioned **copy);
/// Bytes of a tensor's elements; 0 when it is empty. UINT64_MAX if that number overflows.
uint64_t ab_tf_bytes(const DLTensor *tensor);

/// Shares (0-d: copies) the float8 elements of an EagerTensor on the host.
ab_status ab_tf_float8_export(const ab_call *call, PyObject *tensor, DLDataType dtype,
                              DLManagedTensorVersioned **shared);
/// Gives an EagerTensor that shares the float8 elements of `tensor`; ownership as for from_dlpack.
ab_status ab_tf_float8_import(const ab_call *call, DLManagedTensorVersioned *tensor, int32_t *consumed, void **array);

/// Writes the shape of an EagerTensor. `*ndim` is -1 if it has more dimensions than AB_MAX_NDIM.
ab_status ab_tf_eager_shape(const ab_call *call, PyObject *tensor, int64_t *shape, int32_t *ndim);
/// Gives the value of a variable as an EagerTensor, which may share the variable's memory.
ab_status ab_tf_variable_value(const ab_call *call, PyObject *variable, PyObject **value);
/// Gives a tensor that shares the EagerTensor's memory.
ab_status ab_tf_share(const ab_call *call, PyObject *tensor, tf_dtype dtype, DLManagedTensorVersioned **shared);

/* ------------------------------------------------------------------ slots */

int32_t ab_tf_recognizes(void *self, void *object, int32_t *holds_for_type);
ab_status ab_tf_describe(const ab_call *call, void *array, ab_array_info *info);
ab_status ab_tf_to_dlpack(const ab_call *call, void *array, DLManagedTensorVersioned **tensor);
ab_status ab_tf_to_host(const ab_call *call, void *array, DLManagedTensorVersioned **tensor);
ab_status ab_tf_from_dlpack(const ab_call *call, DLManagedTensorVersioned *tensor, DLDevice device, int32_t *consumed,
                            void **array);
ab_status ab_tf_from_host(const ab_call *call, const DLTensor *tensor, DLDevice device, void **array);
ab_status ab_tf_capabilities(const ab_call *call, DLDevice device, uint32_t slot, ab_capabilities *capabilities);
ab_status ab_tf_cast(const ab_call *call, void *array, DLDataType dtype, void **result);
ab_status ab_tf_devices(const ab_call *call, ab_device_visitor visit, void *context);
ab_status ab_tf_finish(const ab_call *call, DLDevice device, uint32_t scope, uint32_t *covered);
ab_status ab_tf_is_oom(void *self, const ab_failure *failure);
ab_status ab_tf_clear_cache(const ab_call *call, DLDevice device, uint32_t flags, uint64_t *to_driver,
                            uint64_t *to_pool);
ab_status ab_tf_memory_info(const ab_call *call, DLDevice device, ab_memory_info *info);

#endif /* ARRAYBRIDGE_TENSORFLOW_PLUGIN_H */
