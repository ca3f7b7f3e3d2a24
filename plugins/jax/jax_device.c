/* SPDX-License-Identifier: MIT
 * Devices: JAX's objects and DLPack's numbers, and what each takes. */
#include "jax_plugin.h"

#include <stdatomic.h>

/* JAX's objects of devices and clients are looked up each time and never kept: a client that somebody holds when the
 * user clears the backends, or when JAX's exit hook does, counts as leaked. */

/* ------------------------------------------------------------------ one device */

static int is_text(PyObject *text, const char *wanted) {
  return PyUnicode_Check(text) && PyUnicode_CompareWithASCIIString(text, wanted) == 0;
}

/// The device's number; -1 if it has none, or with an exception pending.
static long number_of(PyObject *device) {
  PyObject *number = PyObject_GetAttrString(device, "local_hardware_id");
  if (number == NULL && PyErr_ExceptionMatches(PyExc_AttributeError)) PyErr_Clear();
  const long value = number != NULL && PyLong_Check(number) ? PyLong_AsLong(number) : -1;
  Py_XDECREF(number);
  return value;
}

/// JAX calls both kinds of GPU "gpu"; only the client's version tells them apart.
static int is_rocm(PyObject *device) {
  PyObject *version = abpy_attribute(device, "client.platform_version");
  const char *text = version != NULL && PyUnicode_Check(version) ? PyUnicode_AsUTF8AndSize(version, NULL) : NULL;
  const int rocm = text != NULL && strstr(text, "rocm") != NULL;
  abpy_clear();
  Py_XDECREF(version);
  return rocm;
}

static DLDeviceType type_of_platform(PyObject *device, PyObject *platform) {
  if (is_text(platform, "cpu")) return kDLCPU;
  if (is_text(platform, "rocm")) return kDLROCM;
  if (is_text(platform, "cuda")) return kDLCUDA;
  if (is_text(platform, "gpu")) return is_rocm(device) ? kDLROCM : kDLCUDA;
  return kDLExtDev;
}

/// Returns 0 with an exception pending.
static int read_type(PyObject *device, DLDeviceType *type) {
  PyObject *platform = PyObject_GetAttrString(device, "platform");
  if (platform == NULL) return 0;
  *type = type_of_platform(device, platform);
  Py_DECREF(platform);
  return 1;
}

int jax_device_read(PyObject *device, DLDevice *out) {
  const long number = number_of(device);
  if (number < 0 || number > INT32_MAX) return 0;
  DLDeviceType type;
  if (!read_type(device, &type)) return 0;
  *out = (DLDevice){type, (int32_t)number};
  return 1;
}

/* ------------------------------------------------------------------ all devices */

/// jax.local_devices(): of the default backend, or with `keywords` of the one they name. New list, or NULL with an
/// exception.
static PyObject *list_devices(PyObject *keywords) {
  const jax_framework *jax = jax_get();
  PyObject *devices = PyObject_Call(jax->local_devices, jax->no_arguments, keywords);
  PyObject *list = devices != NULL ? PySequence_List(devices) : NULL; /* JAX keeps its own */
  Py_XDECREF(devices);
  return list;
}

static PyObject *list_backend(PyObject *name) {
  PyObject *keywords = Py_BuildValue("{s:O}", "backend", name);
  PyObject *devices = keywords != NULL ? list_devices(keywords) : NULL;
  Py_XDECREF(keywords);
  return devices;
}

static PyObject *list_type(int32_t type) {
  if (type == kDLCPU) return list_devices(jax_get()->cpu_keyword);
  PyObject *name = PyUnicode_FromString(type == kDLROCM ? "rocm" : "cuda");
  PyObject *devices = name != NULL ? list_backend(name) : NULL;
  Py_XDECREF(name);
  return devices;
}

/// Borrowed; NULL if it is not in the list, or with an exception pending.
static PyObject *search(PyObject *devices, DLDevice wanted) {
  for (Py_ssize_t i = 0; i < PyList_Size(devices) && PyErr_Occurred() == NULL; i++) {
    PyObject *device = PyList_GetItem(devices, i);
    DLDevice found;
    if (jax_device_read(device, &found) && found.device_type == wanted.device_type &&
        found.device_id == wanted.device_id) {
      return device;
    }
  }
  return NULL;
}

/* ------------------------------------------------------------------ one CPU, one process */

/// What was found out about a set of backends. Never freed: the user replaces the backends at most a few times.
typedef struct topology {
  PyObject *client;  ///< weak reference to the default backend's client: when that is gone, so is what we know
  int single_cpu;
} topology;

static _Atomic(const topology *) known;

/// -1 if it cannot be told.
static int count_single_cpu(void) {
  PyObject *devices = list_devices(jax_get()->cpu_keyword);
  PyObject *processes = devices != NULL ? jax_call_method(jax_get()->module, "process_count") : NULL;
  int single = -1;
  if (processes != NULL) single = PyList_Size(devices) == 1 && PyLong_AsLong(processes) == 1;
  abpy_clear();
  Py_XDECREF(devices);
  Py_XDECREF(processes);
  return single;
}

static int learn(PyObject *client) {
  const int single = count_single_cpu();
  if (single < 0) return 0;  // nothing to remember: a signal handler may have raised
  PyObject *reference = PyWeakref_NewRef(client, NULL);
  topology *found = reference != NULL ? jax_services->allocate(jax_services->core, sizeof *found) : NULL;
  abpy_clear();
  if (found == NULL) {
    Py_XDECREF(reference);
    return single;
  }
  *found = (topology){.client = reference, .single_cpu = single};
  atomic_store_explicit(&known, found, memory_order_release);
  return single;
}

int jax_single_cpu(void) {
  const jax_framework *jax = jax_get();
  PyObject *client = jax->bridge != NULL ? PyObject_GetAttr(jax->bridge, jax->default_backend) : NULL;
  if (client == NULL || client == Py_None) {
    abpy_clear();
    Py_XDECREF(client);
    return 0;
  }
  const topology *now = atomic_load_explicit(&known, memory_order_acquire);
  const int current = now != NULL && PyWeakref_GetObject(now->client) == client;
  const int single = current ? now->single_cpu : learn(client);
  Py_DECREF(client);
  return single;
}

/* ------------------------------------------------------------------ a device by its number */

static PyObject *find_in_list(PyObject *devices, DLDevice device) {
  // Reading the number costs as much as a quarter of an import, and here there is only one.
  if (device.device_type == kDLCPU && device.device_id == 0 && jax_single_cpu()) return PyList_GetItem(devices, 0);
  return search(devices, device);
}

PyObject *jax_device_find(const ab_call *call, DLDevice device) {
  PyObject *devices = list_type(device.device_type);
  if (devices == NULL) {
    // A RuntimeError says that JAX has no such backend, which is remembered; the CPU's it always has.
    const int none = device.device_type != kDLCPU && PyErr_ExceptionMatches(PyExc_RuntimeError);
    if (none) abpy_error(call, AB_NO_DEVICE, "JAX has no such device");
    else jax_error(call, AB_FRAMEWORK, "jax.local_devices()");
    return NULL;
  }
  PyObject *found = find_in_list(devices, device);
  Py_XINCREF(found);
  Py_DECREF(devices);
  if (found == NULL && PyErr_Occurred() != NULL) {
    jax_error(call, AB_FRAMEWORK, "looking at JAX's devices");
  } else if (found == NULL && abpy_stopped(call) == AB_OK) {
    ab_error_set(call->error, AB_NO_DEVICE, "JAX has no device %d of DLPack's type %d", (int)device.device_id,
                 (int)device.device_type);
  }
  return found;
}

/* ------------------------------------------------------------------ the device of an array */

static ab_status place_of_set(PyObject *devices, DLDevice *device, const char **why_not) {
  PyObject *iterator = PyObject_GetIter(devices);
  PyObject *first = iterator != NULL ? PyIter_Next(iterator) : NULL;
  const int read = first != NULL && jax_device_read(first, device);
  abpy_clear();
  Py_XDECREF(first);
  Py_XDECREF(iterator);
  if (read) return AB_OK;
  *why_not = "JAX does not say which device it is on";
  return AB_UNSUPPORTED;
}

ab_status jax_device_of_array(PyObject *array, DLDevice *device, int *fully_addressable, const char **why_not) {
  PyObject *addressable = PyObject_GetAttrString(array, "is_fully_addressable");
  if (addressable == NULL) return AB_FRAMEWORK;
  *fully_addressable = addressable == Py_True;
  Py_XDECREF(addressable);
  *why_not = "parts of it are on other hosts";
  if (!*fully_addressable) return AB_UNSUPPORTED;
  PyObject *devices = jax_call_method(array, "devices");
  const Py_ssize_t count = devices != NULL ? PyObject_Size(devices) : -1;
  abpy_clear();
  *why_not = "it lies on several devices: only its whole value can be given";
  const ab_status status = count == 1 ? place_of_set(devices, device, why_not) : AB_UNSUPPORTED;
  Py_XDECREF(devices);
  return status;
}

/* ------------------------------------------------------------------ showing them */

static void append_type(PyObject *devices, int32_t type) {
  PyObject *more = list_type(type);
  const Py_ssize_t end = PyList_Size(devices);
  if (more != NULL) PyList_SetSlice(devices, end, end, more);
  abpy_clear(); /* most processes lack one of the backends */
  Py_XDECREF(more);
}

/// jax.local_devices(), and the CPUs and CUDA devices that are not among them. New list, or NULL with an exception.
static PyObject *list_all(void) {
  PyObject *devices = list_devices(NULL);
  PyObject *first = devices != NULL ? PyList_GetItem(devices, 0) : NULL;
  if (first == NULL) return devices;
  DLDeviceType type;
  if (!read_type(first, &type)) {
    Py_DECREF(devices);
    return NULL;
  }
  if (type != kDLCPU) append_type(devices, kDLCPU);
  if (type != kDLCUDA) append_type(devices, kDLCUDA);
  return devices;
}

/// Where the user's default device stands in the list; 0 unless jax_default_device names one.
static Py_ssize_t default_index(PyObject *devices) {
  PyObject *wish = abpy_attribute(jax_get()->module, "config.jax_default_device");
  PyObject *named = NULL;
  if (wish != NULL && PyUnicode_Check(wish)) {
    PyObject *list = list_backend(wish);
    named = list != NULL ? PySequence_GetItem(list, 0) : NULL;
    abpy_clear();
    Py_XDECREF(list);
  }
  Py_ssize_t index = 0;
  if (wish != NULL && wish != Py_None) index = PySequence_Index(devices, named != NULL ? named : wish);
  abpy_clear();
  Py_XDECREF(named);
  Py_XDECREF(wish);
  return index < 0 ? 0 : index;
}

/// Bytes; 0 where JAX does not say.
static uint64_t memory_limit(PyObject *device) {
  PyObject *stats = jax_call_method(device, "memory_stats");
  PyObject *limit = stats != NULL && PyDict_Check(stats) ? PyDict_GetItemString(stats, "bytes_limit") : NULL;
  const long long bytes = limit != NULL ? PyLong_AsLongLong(limit) : 0;
  abpy_clear();
  Py_XDECREF(stats);
  return bytes > 0 ? (uint64_t)bytes : 0;
}

/// 1: no more are wanted. -1 with the exception pending.
static int show(PyObject *device, int is_default, ab_device_visitor visit, void *context) {
  ab_device_info info = {.struct_size = (uint32_t)sizeof info, .flags = is_default ? AB_DEVICE_DEFAULT : 0};
  if (!jax_device_read(device, &info.device)) return PyErr_Occurred() != NULL ? -1 : 0;
  PyObject *kind = abpy_attribute(device, "device_kind");
  const char *name = kind != NULL && PyUnicode_Check(kind) ? PyUnicode_AsUTF8AndSize(kind, NULL) : NULL;
  if (name == NULL) abpy_clear();
  info.name = name != NULL ? name : "";
  if (info.device.device_type != kDLCPU) info.memory_bytes = memory_limit(device);
  const int stop = visit(context, &info) != 0;
  Py_XDECREF(kind);
  return stop;
}

ab_status jax_devices(const ab_call *call, ab_device_visitor visit, void *context) {
  PyObject *devices = list_all();
  if (devices == NULL) return abpy_error(call, AB_FRAMEWORK, "jax.local_devices()");
  const Py_ssize_t first = default_index(devices);
  int stop = PyList_Size(devices) == 0 ? 1 : show(PyList_GetItem(devices, first), 1, visit, context);
  for (Py_ssize_t i = 0; i < PyList_Size(devices) && !stop; i++) {
    if (i != first) stop = show(PyList_GetItem(devices, i), 0, visit, context);
  }
  Py_DECREF(devices);
  return stop >= 0 ? AB_OK : jax_error(call, AB_FRAMEWORK, "looking at JAX's devices");
}

/* ------------------------------------------------------------------ what each takes */

static ab_capabilities imports(DLDeviceType type) {
  ab_capabilities found = {
      .struct_size = (uint32_t)sizeof found,
      .flags = AB_ACCEPTS_BYTE_OFFSET | AB_ACCEPTS_EMPTY | AB_ACCEPTS_ZERO_DIM | AB_MAKES_IMMUTABLE,
      .dtypes = jax_dtypes,
      .dtype_count = JAX_DTYPE_COUNT,
      .layout = AB_LAYOUT_PERMUTED_COMPACT,
      .max_ndim = AB_MAX_NDIM,
      .alignment = 64,
      .plugin_flags = AB_PLUGIN_UNVERSIONED_ONLY | AB_PLUGIN_DELETER_ANY_THREAD,
  };
  // Older versions take C order only; they are those that the public call is for.
  if (jax_get()->import_buffer == NULL) found.layout = AB_LAYOUT_C;
  if (type == kDLCPU) found.flags |= AB_READS_HOST_LATER;
  if (type != kDLCPU) found.plugin_flags |= AB_PLUGIN_RELEASES_BEFORE_DONE;
  return found;
}

ab_status jax_capabilities(const ab_call *call, DLDevice device, uint32_t slot, ab_capabilities *capabilities) {
  const int from_host = slot == AB_SLOT_FROM_HOST;
  if (slot != AB_SLOT_FROM_DLPACK && !from_host)
    return ab_fail(call, AB_UNSUPPORTED, "unknown slot %u", (unsigned)slot);
  if (device.device_type != kDLCPU && device.device_type != kDLCUDA) {
    return ab_fail(call, AB_UNSUPPORTED, "JAX takes arrays on the CPU and on CUDA devices");
  }
  if (from_host && device.device_type == kDLCPU) {
    return ab_fail(call, AB_UNSUPPORTED, "jax.device_put shares host memory: only from_dlpack is offered");
  }
  PyObject *found = jax_device_find(call, device);
  if (found == NULL) return call->error->status;
  Py_DECREF(found);
  ab_capabilities offered = imports(device.device_type);
  if (from_host) {
    offered.layout = AB_LAYOUT_C;
    offered.flags &= ~(uint32_t)(AB_READS_HOST_LATER | AB_ACCEPTS_BYTE_OFFSET);
  }
  ab_struct_fill(capabilities, &offered, (uint32_t)sizeof offered);
  return AB_OK;
}
