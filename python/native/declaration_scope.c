/* SPDX-License-Identifier: MIT
 * The stream that a decorated function runs on, where its arrays are on a CUDA device. */
#include "containers.h"
#include "declaration.h"

/* ------------------------------------------------------------------ arrays on devices */

enum { OWNERS = 16 };

/* One array of each framework that has any on a CUDA device, in the order they are met. */
typedef struct gathering {
  ab_array found[OWNERS]; /* references */
  DLDevice devices[OWNERS];
  uint32_t count;
  int arrays; /* set: some array was met */
} gathering;

static int is_gathered(const gathering *all, const ab_backend *owner) {
  for (uint32_t i = 0; i < all->count; i++)
    if (all->found[i].backend == owner) return 1;
  return all->count == OWNERS;
}

static int is_on_cuda(const ab_array *array, DLDevice *device) {
  int64_t shape[AB_MAX_NDIM];
  int64_t strides[AB_MAX_NDIM];
  ab_array_info info = {.struct_size = (uint32_t)sizeof info, .shape = shape, .strides = strides};
  const ab_status status = ab_array_describe(array, shape, strides, &info, NULL); /* conversions tell what is wrong */
  if (status != AB_OK) return 0;
  *device = (DLDevice){kDLCUDA, info.device.device_id};
  return info.device.device_type == kDLCUDA || info.device.device_type == kDLCUDAManaged;
}

static int gather(void *context, PyObject *object, const ab_backend *owner) {
  gathering *all = context;
  all->arrays = 1;
  if (is_gathered(all, owner)) return 0;
  const ab_array array = {owner, object};
  if (!is_on_cuda(&array, &all->devices[all->count])) return 0;
  all->found[all->count++] = (ab_array){owner, Py_NewRef(object)};
  return 0;
}

static void gathering_end(gathering *all) {
  for (uint32_t i = 0; i < all->count; i++) Py_DECREF((PyObject *)all->found[i].object);
}

/* ------------------------------------------------------------------ going through what is nested */

typedef int (*visitor)(void *context, PyObject *array, const ab_backend *owner);

static int visit_one(PyObject *object, visitor visit, void *context) {
  const ab_backend *owner = native_owner_of(object, NULL);
  if (owner == NULL) return PyErr_Occurred() ? -1 : 0;
  return visit(context, object, owner);
}

static int enter_once(native_walk *walk, native_seen *seen, PyObject *container) {
  const int is_new = native_seen_add(seen, container);
  if (is_new <= 0) return is_new;
  return native_walk_enter(walk, container) != NULL ? 0 : -1;
}

static int visit_all(PyObject *object, visitor visit, void *context) {
  if (!native_is_container(object)) return visit_one(object, visit, context);
  native_seen seen = {.count = 0};
  native_walk walk;
  native_walk_begin(&walk);
  int result = enter_once(&walk, &seen, object);
  while (result == 0 && walk.depth > 0) {
    native_level *level = native_walk_top(&walk);
    if (!native_walk_next(level)) native_walk_leave(&walk);
    else if (native_is_plain(level->item)) continue;
    else if (native_is_container(level->item)) result = enter_once(&walk, &seen, level->item);
    else result = visit_one(level->item, visit, context);
  }
  native_walk_end(&walk);
  native_seen_end(&seen);
  return result;
}

/* ------------------------------------------------------------------ on which device */

/* Whether the framework has CUDA devices at all. Looked at once, and not before there are arrays: then it is needed. */
static int looks_possible(native_declaration *d) {
  const int known = atomic_load_explicit(&d->scopes, memory_order_relaxed);
  if (known != NATIVE_SCOPES_UNKNOWN) return known == NATIVE_SCOPES_PERHAPS;
  ab_error error;
  ab_error_init(&error);
  DLDevice device;
  const ab_status status = ab_backend_takes_streams(d->input) || d->stream != NULL
                               ? native_cuda_device(d->input, -1, &device, &error)
                               : AB_NO_DEVICE;
  ab_error_clear(&error);
  if (status != AB_OK && status != AB_NO_DEVICE) return 0; /* the conversion tells why */
  atomic_store_explicit(&d->scopes, status == AB_OK ? NATIVE_SCOPES_PERHAPS : NATIVE_SCOPES_NEVER,
                        memory_order_relaxed);
  return status == AB_OK;
}

/* What the decorator says of arrays of the host: 1 if that is a CUDA device, of number `*id`, -1 for any. */
static int said_number(const native_declaration *d, int32_t *id) {
  *id = -1;
  if (d->gpu_id != NULL) {
    *id = (int32_t)PyLong_AsLong(d->gpu_id);
    return PyErr_Occurred() ? -1 : 1;
  }
  if (d->device == NULL) {
    int prefers = 0;
    return native_prefers_accelerator(&prefers) != 0 ? -1 : prefers;
  }
  ab_convert_options options = {.struct_size = (uint32_t)sizeof options};
  if (native_device_read(d->device, d->input, &options) != 0) return -1;
  if (!(options.flags & AB_CONVERT_DEVICE_KIND)) *id = options.device.device_id;
  return options.device.device_type == kDLCUDA;
}

/* What cannot be read, and a device that is not there, are the conversion's to complain about. */
static int said_device(const native_declaration *d, DLDevice *device) {
  int32_t id = -1;
  const int said = said_number(d, &id);
  if (said < 0) return native_no();
  if (said == 0) return 0;
  ab_error error;
  ab_error_init(&error);
  const ab_status status = native_cuda_device(d->input, id, device, &error);
  ab_error_clear(&error);
  return status == AB_OK;
}

/* 1: on `*device`; 0: on the host; -1 with an exception. */
static int choose_device(const native_declaration *d, const gathering *all, DLDevice *device) {
  if (all->count != 0 && !(d->flags & NATIVE_DECLARE_MOVES_ALL)) {
    *device = all->devices[0];
    return 1;
  }
  return said_device(d, device);
}

/* ------------------------------------------------------------------ a call's stream */

static int enter(const native_declaration *d, DLDevice device, const gathering *all, ab_stream_scope **scope) {
  ab_stream stream = {.struct_size = 0};
  if (d->stream != NULL && native_stream_read(d->stream, device, &stream) != 0) return -1;
  ab_error error;
  ab_error_init(&error);
  const ab_status status = ab_stream_scope_enter(native_bridge(), d->input, device, d->stream != NULL ? &stream : NULL,
                                                 all->found, all->count, scope, &error);
  if (d->stream != NULL) native_stream_end(&stream);
  if (status != AB_OK) native_raise(status, &error, "", ab_backend_name(d->input), "stream");
  else ab_error_clear(&error);
  return status == AB_OK ? 0 : -1;
}

/* 1 if all arrays are at home, where they stay, and the first is on the host. */
static int is_on_host(const native_declaration *d, const native_search *search) {
  if (search->foreign || search->owner != d->input || (d->flags & NATIVE_DECLARE_MOVES_ALL)) return 0;
  const ab_array first = {search->owner, search->first};
  DLDevice device;
  return !is_on_cuda(&first, &device);
}

static int gather_all(PyObject *positional, PyObject *named, gathering *all) {
  if (visit_all(positional, gather, all) != 0) return -1;
  return PyDict_Size(named) != 0 ? visit_all(named, gather, all) : 0;
}

int native_scope_begin(native_declaration *d, PyObject *positional, PyObject *named, const native_search *search,
                       ab_stream_scope **scope) {
  if (search != NULL && (search->first == NULL || !looks_possible(d) || is_on_host(d, search))) return 0;
  gathering all = {.count = 0};
  DLDevice device = {kDLCPU, 0};
  int result = gather_all(positional, named, &all);
  if (result == 0 && all.arrays && looks_possible(d)) {
    const int chosen = choose_device(d, &all, &device);
    result = chosen > 0 ? enter(d, device, &all, scope) : chosen;
  }
  gathering_end(&all);
  return result;
}

static int add(void *context, PyObject *object, const ab_backend *owner) {
  ab_error error;
  ab_error_init(&error);
  const ab_array array = {owner, object};
  const ab_status status = ab_stream_scope_add(context, &array, &error);
  if (status != AB_OK) native_raise(status, &error, ab_backend_name(owner), "", "stream");
  else ab_error_clear(&error);
  return status == AB_OK ? 0 : -1;
}

PyObject *native_scope_end(const native_declaration *d, ab_stream_scope *scope, PyObject *result) {
  if (result != NULL && visit_all(result, add, scope) != 0) Py_CLEAR(result);
  PyObject *type = NULL;
  PyObject *value = NULL;
  PyObject *trace = NULL;
  PyErr_Fetch(&type, &value, &trace); /* what ends the scope is Python, too */
  ab_error error;
  ab_error_init(&error);
  const ab_status status = ab_stream_scope_exit(scope, &error);
  PyErr_Restore(type, value, trace);
  if (status != AB_OK && result != NULL) {
    Py_CLEAR(result);
    native_raise(status, &error, "", ab_backend_name(d->input), "stream");
  }
  ab_error_clear(&error);
  return result;
}
