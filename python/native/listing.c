/* SPDX-License-Identifier: MIT */
#include "native.h"

/* What a visit fills: a list, or NULL once something has failed. */
typedef struct listing {
  PyObject *list;
} listing;

/* Takes `item`. Returns 0 to go on. */
static int add(listing *to, PyObject *item) {
  if (item == NULL || PyList_Append(to->list, item) != 0) Py_CLEAR(to->list);
  Py_XDECREF(item);
  return to->list == NULL;
}

static PyObject *boolean(uint32_t flags, uint32_t which) { return flags & which ? Py_True : Py_False; }

/* ------------------------------------------------------------------ backends */

static PyObject *backend_values(const ab_backend *backend) {
  ab_framework_info info = {.struct_size = (uint32_t)sizeof info};
  ab_error error;
  ab_error_init(&error);
  const ab_status status = ab_backend_probe(backend, &info, &error);
  const char *detail = status == AB_OK ? info.detail : error.text;
  PyObject *values = Py_BuildValue(
      "{ss sN sN sO sO sN sN ss sO}", "name", ab_backend_name(backend), "version",
      native_text(ab_backend_version(backend)), "path", PyUnicode_DecodeFSDefault(ab_backend_path(backend)),
      "installed", boolean(info.flags, AB_FRAMEWORK_INSTALLED), "imported", boolean(info.flags, AB_FRAMEWORK_IMPORTED),
      "framework_version", native_text(info.version), "detail", native_text(detail), "probed", ab_status_name(status),
      "python", native_is_for_python(backend) ? Py_True : Py_False);
  ab_error_clear(&error);
  return values;
}

NATIVE_CALL(native_backends) {
  (void)module;
  static const native_signature signature = {"backends", {NULL}, 0, 0};
  PyObject *values[NATIVE_MAX_ARGUMENTS];
  if (native_arguments(&signature, args, count, names, values) != 0) return NULL;
  if (native_discover_announced() < 0) return NULL;
  listing found = {PyList_New(0)};
  const uint32_t number = ab_bridge_backend_count(native_bridge());
  for (uint32_t index = 0; found.list != NULL && index < number; index++)
    add(&found, backend_values(ab_bridge_backend_at(native_bridge(), index)));
  return found.list;
}

/* ------------------------------------------------------------------ devices */

static PyObject *uuid_text(const uint8_t uuid[16]) {
  static const uint8_t none[16];
  char text[33] = "";
  for (int index = 0; memcmp(uuid, none, sizeof none) != 0 && index < 16; index++)
    snprintf(text + (size_t)2 * (size_t)index, 3, "%02x", uuid[index]);
  return PyUnicode_FromString(text);
}

static int visit_device(void *context, const ab_device_info *device) {
  return add(context, Py_BuildValue("{sN sN sO sO sK sN}", "device", native_device_label(device->device), "name",
                                    native_text(device->name != NULL ? device->name : ""), "default",
                                    boolean(device->flags, AB_DEVICE_DEFAULT), "unified_memory",
                                    boolean(device->flags, AB_DEVICE_UNIFIED_MEMORY), "memory_bytes",
                                    (unsigned long long)device->memory_bytes, "uuid", uuid_text(device->uuid)));
}

NATIVE_CALL(native_devices) {
  (void)module;
  static const native_signature signature = {"devices", {"name"}, 1, 1};
  PyObject *values[NATIVE_MAX_ARGUMENTS];
  if (native_arguments(&signature, args, count, names, values) != 0) return NULL;
  const ab_backend *backend = native_backend_of(values[0], "name");
  if (backend == NULL) return NULL;
  listing found = {PyList_New(0)};
  ab_error error;
  ab_error_init(&error);
  ab_status status = found.list != NULL ? ab_backend_start(backend, &error) : AB_OOM;
  if (status == AB_OK) status = ab_backend_devices(backend, visit_device, &found, &error);
  if (status != AB_OK && PyErr_Occurred() == NULL) { /* an exception of our own visitor's: the core has it as a stray */
    Py_CLEAR(found.list);
    return native_raise(status, &error, "", ab_backend_name(backend), "devices");
  }
  ab_error_clear(&error);
  return found.list;
}

/* ------------------------------------------------------------------ the load trace */

static int visit_trace(void *context, const ab_trace_entry *entry) {
  return add(context, Py_BuildValue("{ss sN ss sN sN sN sN}", "status", ab_status_name(entry->status), "path",
                                    PyUnicode_DecodeFSDefault(entry->path), "place", entry->place, "name",
                                    native_text(entry->name), "version", native_text(entry->version), "reason",
                                    native_text(entry->reason), "hint", native_text(entry->hint)));
}

NATIVE_CALL(native_trace) {
  (void)module;
  static const native_signature signature = {"load_trace", {NULL}, 0, 0};
  PyObject *values[NATIVE_MAX_ARGUMENTS];
  if (native_arguments(&signature, args, count, names, values) != 0) return NULL;
  if (native_discover_announced() < 0) return NULL;
  listing found = {PyList_New(0)};
  if (found.list != NULL) ab_bridge_trace(native_bridge(), visit_trace, &found);
  return found.list;
}

/* ------------------------------------------------------------------ the bridge as a whole */

NATIVE_CALL(native_pending) {
  (void)module;
  static const native_signature signature = {"pending", {NULL}, 0, 0};
  PyObject *values[NATIVE_MAX_ARGUMENTS];
  if (native_arguments(&signature, args, count, names, values) != 0) return NULL;
  uint64_t releases = 0;
  uint64_t bytes = 0;
  ab_bridge_pending(native_bridge(), &releases, &bytes);
  return Py_BuildValue("(KK)", (unsigned long long)releases, (unsigned long long)bytes);
}

NATIVE_CALL(native_release_pools) {
  (void)module;
  static const native_signature signature = {"release_pools", {NULL}, 0, 0};
  PyObject *values[NATIVE_MAX_ARGUMENTS];
  if (native_arguments(&signature, args, count, names, values) != 0) return NULL;
  uint64_t bytes = 0;
  ab_error error;
  ab_error_init(&error);
  const ab_status status = ab_release_pools(native_bridge(), &bytes, &error);
  if (status != AB_OK) return native_raise(status, &error, "", "", "release_pools");
  return PyLong_FromUnsignedLongLong(bytes);
}

NATIVE_CALL(native_prepare) {
  (void)module;
  static const native_signature signature = {"prepare", {NULL}, 0, 0};
  PyObject *values[NATIVE_MAX_ARGUMENTS];
  if (native_arguments(&signature, args, count, names, values) != 0) return NULL;
  ab_error error;
  ab_error_init(&error);
  PyThreadState *state = PyEval_SaveThread(); /* opens driver libraries: tens of milliseconds */
  const ab_status status = ab_bridge_prepare(native_bridge(), &error);
  PyEval_RestoreThread(state);
  if (status != AB_OK) return native_raise(status, &error, "", "", "prepare");
  ab_error_clear(&error);
  Py_RETURN_NONE;
}
