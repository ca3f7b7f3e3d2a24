/* SPDX-License-Identifier: MIT
 * Out-of-memory, from Python: judging an exception, one step of recovery, and who holds what. */
#include "native.h"

/* ------------------------------------------------------------------ judging */

/* The errno of an OSError; 0 for anything else. */
static int64_t errno_of(PyObject *exception) {
  if (!PyErr_GivenExceptionMatches(exception, PyExc_OSError)) return 0;
  PyObject *number = PyObject_GetAttrString(exception, "errno");
  const long code = number != NULL && PyLong_Check(number) ? PyLong_AsLong(number) : 0;
  Py_XDECREF(number);
  return PyErr_Occurred() != NULL && native_no() != 0 ? 0 : code;
}

/* The plugins know the exceptions; whoever runs out of memory before the first conversion has not loaded them yet. */
static int know_backends(void) { return native_discover() == 0 || native_no() == 0 ? 0 : -1; }

/* judge(exception): AB_OOM, AB_TOO_LARGE, or 0. Its causes are the caller's to walk. */
NATIVE_CALL(native_judge) {
  (void)module;
  static const native_signature signature = {"judge", {"exception"}, 1, 1};
  PyObject *values[NATIVE_MAX_ARGUMENTS];
  if (native_arguments(&signature, args, count, names, values) != 0) return NULL;
  if (!PyExceptionInstance_Check(values[0])) {
    PyErr_Format(PyExc_TypeError, "an exception is needed, not %R", values[0]);
    return NULL;
  }
  if (know_backends() != 0) return NULL;
  ab_failure failure = {
      .struct_size = (uint32_t)sizeof failure, .status = AB_FRAMEWORK, .domain = "python", .object = values[0]};
  /* Python's own, with a text or, where there was no memory for one, without. */
  if ((PyObject *)Py_TYPE(values[0]) == PyExc_MemoryError) failure.status = AB_OOM;
  ab_status verdict = ab_failure_judge(native_bridge(), &failure);
  const ab_failure of_system = {
      .struct_size = (uint32_t)sizeof of_system, .status = AB_DRIVER, .domain = "errno", .code = errno_of(values[0])};
  if (verdict == AB_OK) verdict = ab_failure_judge(native_bridge(), &of_system);
  return PyErr_Occurred() == NULL ? PyLong_FromLong(verdict) : NULL;
}

/* ------------------------------------------------------------------ numbers in and out */

/* Reads `wanted` unsigned 32-bit numbers. */
static int read_numbers(PyObject *const *values, int wanted, uint32_t *numbers) {
  for (int index = 0; index < wanted; index++) {
    const unsigned long read = PyLong_AsUnsignedLong(values[index]);
    if (read == (unsigned long)-1 && PyErr_Occurred()) return -1;
    numbers[index] = read < UINT32_MAX ? (uint32_t)read : UINT32_MAX;
  }
  return 0;
}

/* None where it cannot be known. New reference. */
static PyObject *bytes_value(uint64_t bytes) {
  return bytes == UINT64_MAX ? Py_NewRef(Py_None) : PyLong_FromUnsignedLongLong(bytes);
}

/* read_device(device): (type, number) of a label such as "cuda:1"; (0, 0) for None. */
NATIVE_CALL(native_read_device) {
  (void)module;
  static const native_signature signature = {"read_device", {"device"}, 1, 1};
  PyObject *values[NATIVE_MAX_ARGUMENTS];
  if (native_arguments(&signature, args, count, names, values) != 0) return NULL;
  ab_convert_options options = {.device = {(DLDeviceType)0, 0}};
  if (values[0] != Py_None && native_device_read(values[0], NULL, &options) != 0) return NULL;
  return Py_BuildValue("(ii)", (int)options.device.device_type, (int)options.device.device_id);
}

/* ------------------------------------------------------------------ one step */

/* recover(verdict, flags, device_type, device_id, max_retries, batch, retries, halvings):
 * (action, flags, batch, retries, halvings, bytes returned, why a cache could not be cleared). What calls it has
 * dropped what it can. */
NATIVE_CALL(native_recover) {
  (void)module;
  enum { VERDICT, FLAGS, DEVICE_TYPE, DEVICE_ID, MAX_RETRIES, BATCH, RETRIES, HALVINGS, NUMBERS };
  static const native_signature signature = {
      "recover",
      {"verdict", "flags", "device_type", "device_id", "max_retries", "batch", "retries", "halvings"},
      NUMBERS,
      NUMBERS};
  PyObject *values[NATIVE_MAX_ARGUMENTS];
  uint32_t numbers[NUMBERS];
  if (native_arguments(&signature, args, count, names, values) != 0) return NULL;
  if (read_numbers(values, NUMBERS, numbers) != 0 || know_backends() != 0) return NULL;
  ab_recovery state = {.struct_size = (uint32_t)sizeof state,
                       .flags = numbers[FLAGS],
                       .device = {(DLDeviceType)numbers[DEVICE_TYPE], (int32_t)numbers[DEVICE_ID]},
                       .max_retries = numbers[MAX_RETRIES],
                       .batch = numbers[BATCH],
                       .retries = numbers[RETRIES],
                       .halvings = numbers[HALVINGS]};
  ab_recovery_action action = AB_RECOVERY_RAISE;
  ab_error error;
  ab_error_init(&error);
  native_drain();
  const ab_status status = ab_recover(native_bridge(), &state, (ab_status)numbers[VERDICT], &action, &error);
  if (status != AB_OK && status != AB_ENDING) return native_raise(status, &error, "", "", "recover");
  ab_error_clear(&error);
  if (PyErr_Occurred() != NULL) return NULL; /* asked to stop while garbage was collected */
  return Py_BuildValue("(iIIIIKN)", (int)action, (unsigned)state.flags, (unsigned)state.batch, (unsigned)state.retries,
                       (unsigned)state.halvings, (unsigned long long)state.to_driver, native_text(state.failure));
}

/* ------------------------------------------------------------------ who holds what */

static PyObject *holding_values(const ab_holding *holding) {
  const char *name = holding->backend != NULL ? ab_backend_name(holding->backend) : "process";
  const int everywhere = (int)holding->device.device_type == 0;
  return Py_BuildValue("{ss sN sN sN sN sN sN sN sN sO sO}", "backend", name, "device",
                       everywhere ? PyUnicode_FromString("") : native_device_label(holding->device), "in_use",
                       bytes_value(holding->in_use), "cached", bytes_value(holding->cached), "limit",
                       bytes_value(holding->limit), "returned", bytes_value(holding->to_driver), "pooled",
                       bytes_value(holding->to_pool), "reason", native_text(holding->reason), "clear_reason",
                       native_text(holding->clear_reason), "cleared",
                       holding->flags & AB_HOLDING_CLEARED ? Py_True : Py_False, "idle",
                       holding->flags & AB_HOLDING_IDLE ? Py_True : Py_False);
}

/* A list, or NULL once something has failed. */
typedef struct holdings {
  PyObject *list;
} holdings;

static int add_holding(void *context, const ab_holding *holding) {
  holdings *to = context;
  PyObject *values = holding_values(holding);
  if (values == NULL || PyList_Append(to->list, values) != 0) Py_CLEAR(to->list);
  Py_XDECREF(values);
  return to->list == NULL;
}

typedef ab_status (*holdings_source)(const ab_bridge *bridge, DLDevice device, ab_holding_visitor visit, void *context,
                                     ab_error *error);

static PyObject *list_holdings(const native_signature *signature, PyObject *const *args, Py_ssize_t count,
                               PyObject *names, holdings_source source) {
  PyObject *values[NATIVE_MAX_ARGUMENTS];
  uint32_t numbers[2];
  if (native_arguments(signature, args, count, names, values) != 0) return NULL;
  if (read_numbers(values, 2, numbers) != 0 || native_discover_announced() < 0) return NULL;
  const DLDevice device = {(DLDeviceType)numbers[0], (int32_t)numbers[1]};
  holdings found = {PyList_New(0)};
  if (found.list == NULL) return NULL;
  ab_error error;
  ab_error_init(&error);
  const ab_status status = source(native_bridge(), device, add_holding, &found, &error);
  if (status != AB_OK && found.list != NULL) {
    Py_CLEAR(found.list);
    return native_raise(status, &error, "", "", signature->function);
  }
  ab_error_clear(&error);
  return found.list;
}

/* holdings(device_type, device_id), clear_caches(device_type, device_id): a list of dict. */
NATIVE_CALL(native_holdings) {
  (void)module;
  static const native_signature signature = {"holdings", {"device_type", "device_id"}, 2, 2};
  return list_holdings(&signature, args, count, names, ab_holdings);
}

NATIVE_CALL(native_clear_caches) {
  (void)module;
  static const native_signature signature = {"clear_caches", {"device_type", "device_id"}, 2, 2};
  return list_holdings(&signature, args, count, names, ab_caches_clear);
}
