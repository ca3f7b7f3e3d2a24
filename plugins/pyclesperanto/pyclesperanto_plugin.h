/* SPDX-License-Identifier: MIT
 *
 * pyclesperanto_plugin.h: what the files of this plugin share. The nouns: framework (what was found in pyclesperanto),
 * dtype, native (the OpenCL behind it), device, and the slots of the vtable.
 *
 * pyclesperanto comes in flavours (OpenCL, CUDA, Metal), each with an array class of its own. Memory is shared on
 * OpenCL only; arrays of the others are copied by pyclesperanto itself.
 */
#ifndef ARRAYBRIDGE_PYCLESPERANTO_PLUGIN_H
#define ARRAYBRIDGE_PYCLESPERANTO_PLUGIN_H

#include <abpy.h>

/* ------------------------------------------------------------------ the framework */

typedef struct cle_framework {
  const ab_services *services;
  int started;
  PyObject *module;      ///< pyclesperanto
  PyObject *get_device;  ///< pyclesperanto.get_device: the user's current device
  PyObject *numpy;       ///< the module; pyclesperanto needs it, too
  PyObject *name_shape;  ///< interned, as are the others
  PyObject *name_dtype;
  PyObject *name_device;
  PyObject *name_mtype;
  PyObject *name_get;
  PyObject *name_export;  ///< "__dlpack__"
  PyObject *name_import;  ///< "_from_dlpack": the public from_dlpack takes no capsules (0.25)
  PyObject *word_buffer;  ///< "buffer": the kind of memory that can be shared
} cle_framework;

/// Of this process. Filled in by create() and start().
extern cle_framework cle;

int32_t cle_recognizes(void *self, void *object, int32_t *holds_for_type);
ab_status cle_probe(const ab_call *call, ab_framework_info *info);
ab_status cle_start(const ab_call *call);
/// Takes the pending exception as an error; AB_OOM or AB_TOO_LARGE if it says so.
ab_status cle_failed(const ab_call *call, const char *what);
ab_status cle_is_oom(void *self, const ab_failure *failure);

/* ------------------------------------------------------------------ dtypes */

/// Every dtype that pyclesperanto holds exactly. Static storage.
const DLDataType *cle_dtypes(uint32_t *count);
/// Looks the dtypes up in NumPy. 0 with an exception pending when that fails.
int cle_dtypes_find(PyObject *numpy);
/// What NumPy's dtype `object` is; bits 0 if it is none of ours. Leaves no exception.
DLDataType cle_dtype_of(PyObject *object);
/// NumPy's dtype; borrowed. NULL if it is none of ours.
PyObject *cle_dtype_object(DLDataType dtype);

/* ------------------------------------------------------------------ the OpenCL behind it */

/// Finds the functions of OpenCL in what `module`, one of pyclesperanto's extension modules, is linked with. May be
/// called again; who finds none has no contexts to show.
void cle_native_find(PyObject *module);
/// The cl_context of a cl_mem; NULL if it cannot be told.
void *cle_native_context(void *buffer);
/// The cl_device_id of a context, of which pyclesperanto's have just one; NULL if it cannot be told.
void *cle_native_device(void *context);

typedef struct cle_native_facts {
  uint64_t memory_bytes;  ///< 0 if unknown
  uint64_t max_bytes;     ///< largest single buffer; 0 if unknown
  int unified;            ///< host and device use the same memory
} cle_native_facts;

cle_native_facts cle_native_look(void *device);

/* ------------------------------------------------------------------ devices */

/// One of pyclesperanto's devices. Made once and kept for ever: so are pyclesperanto's own objects.
typedef struct cle_device {
  PyObject *object;
  DLDevice device;
  char name[128];
  /* Known once it is awake. */
  int awake;
  PyObject *sample;  ///< an array of one element, through which the queue can be reached
  void *context;     ///< cl_context; NULL if it cannot be told
  void *native;      ///< cl_device_id
  cle_native_facts facts;
} cle_device;

/// The record of pyclesperanto's object `object`. NULL: the reason is in call->error, its status is to be returned.
cle_device *cle_device_of(const ab_call *call, PyObject *object);
/// The record with this number among the devices of the flavour in use. NULL: the reason is in call->error, its status
/// is to be returned.
cle_device *cle_device_find(const ab_call *call, DLDevice device);
/// Makes the fields of a waking device known. Allocates one element there.
ab_status cle_device_wake(const ab_call *call, cle_device *device);
/// Waits for pyclesperanto's queue on `device`.
ab_status cle_device_wait(const ab_call *call, cle_device *device);
/// The same after AB_CANCELLED, for memory that must not be given back earlier. Leaves no exception.
void cle_device_wait_on(const cle_device *device);

/* ------------------------------------------------------------------ slots */

ab_status cle_describe(const ab_call *call, void *array, ab_array_info *info);
ab_status cle_to_dlpack(const ab_call *call, void *array, DLManagedTensorVersioned **tensor);
ab_status cle_to_host(const ab_call *call, void *array, DLManagedTensorVersioned **tensor);
ab_status cle_capabilities(const ab_call *call, DLDevice device, uint32_t slot, ab_capabilities *capabilities);
ab_status cle_from_dlpack(const ab_call *call, DLManagedTensorVersioned *tensor, DLDevice device, int32_t *consumed,
                          void **array);
ab_status cle_from_host(const ab_call *call, const DLTensor *tensor, DLDevice device, void **array);
ab_status cle_cast(const ab_call *call, void *array, DLDataType dtype, void **result);
ab_status cle_devices(const ab_call *call, ab_device_visitor visit, void *context);
ab_status cle_finish(const ab_call *call, DLDevice device, uint32_t scope, uint32_t *covered);
ab_status cle_clear_cache(const ab_call *call, DLDevice device, uint32_t flags, uint64_t *to_driver, uint64_t *to_pool);
ab_status cle_memory_info(const ab_call *call, DLDevice device, ab_memory_info *info);

/// Gives a new array on `device`, its elements not set. NULL with an exception pending.
PyObject *cle_new_array(const cle_device *device, int32_t ndim, const int64_t *shape, DLDataType dtype);

#endif /* ARRAYBRIDGE_PYCLESPERANTO_PLUGIN_H */
