/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <stdlib.h>

#include "native.h"

typedef struct device_kind {
  const char *name;
  int32_t type; /* DLDeviceType */
} device_kind;

static const device_kind kinds[] = {
    {"cpu", kDLCPU},
    {"cuda", kDLCUDA},
    {"opencl", kDLOpenCL},
    {"rocm", kDLROCM},
    {"vulkan", kDLVulkan},
    {"metal", kDLMetal},
    {"oneapi", kDLOneAPI},
    {"webgpu", kDLWebGPU},
    {"hexagon", kDLHexagon},
    {"cuda_host", kDLCUDAHost},
    {"rocm_host", kDLROCMHost},
    {"cuda_managed", kDLCUDAManaged},
    {"vpi", kDLVPI},
    {"maia", kDLMAIA},
    {"trn", kDLTrn},
    {"ext", kDLExtDev},
};
enum { KINDS = sizeof kinds / sizeof kinds[0] };

PyObject *native_device_label(DLDevice device) {
  if (device.device_type == 0) return PyUnicode_FromString("several");
  for (size_t index = 0; index < KINDS; index++)
    if (kinds[index].type == (int32_t)device.device_type)
      return PyUnicode_FromFormat("%s:%d", kinds[index].name, (int)device.device_id);
  return PyUnicode_FromFormat("device%d:%d", (int)device.device_type, (int)device.device_id);
}

/* ------------------------------------------------------------------ devices that only the backend can name */

typedef struct wanted_device {
  const char *name; /* NULL: the `index`th accelerator */
  int64_t index;
  int64_t seen;
  int found;
  DLDevice device;
} wanted_device;

static int consider(void *context, const ab_device_info *device) {
  wanted_device *wanted = context;
  const int fits = wanted->name != NULL ? device->name != NULL && strcmp(device->name, wanted->name) == 0
                                        : device->device.device_type != kDLCPU && wanted->seen++ == wanted->index;
  if (!fits) return 0;
  wanted->found = 1;
  wanted->device = device->device;
  return 1;
}

static int ask_backend(const char *label, const ab_backend *target, wanted_device *wanted,
                       ab_convert_options *options) {
  ab_error error;
  ab_error_init(&error);
  ab_status status = ab_backend_start(target, &error);
  if (status == AB_OK) status = ab_backend_devices(target, consider, wanted, &error);
  if (status == AB_OK && !wanted->found) {
    status = ab_error_set(&error, AB_NO_DEVICE, "%s has no device %s", ab_backend_name(target), label);
    ab_error_hint(&error, "arraybridge.list_devices(\"%s\") lists those it has", ab_backend_name(target));
  }
  if (status != AB_OK) {
    native_raise(status, &error, "", ab_backend_name(target), "device");
    return -1;
  }
  options->device = wanted->device;
  options->flags |= AB_CONVERT_DEVICE_GIVEN;
  return 0;
}

/* ------------------------------------------------------------------ labels */

/* Reads the whole of `text` as a device number: 1 and `*number`, or 0. */
static int number_of(const char *text, int32_t *number) {
  if (text[0] < '0' || text[0] > '9') return 0;
  char *end = NULL;
  errno = 0;
  const long read = strtol(text, &end, 10);
  if (errno != 0 || *end != '\0' || read > INT32_MAX) return 0;
  *number = (int32_t)read;
  return 1;
}

/* Reads "cuda" or "cuda:1": 1, or 0 if it is nothing of the kind. */
static int read_kind(const char *label, ab_convert_options *options) {
  const size_t length = strcspn(label, ":");
  for (size_t index = 0; index < KINDS; index++) {
    if (strlen(kinds[index].name) != length || strncmp(kinds[index].name, label, length) != 0) continue;
    options->device = (DLDevice){(DLDeviceType)kinds[index].type, 0};
    options->flags |= AB_CONVERT_DEVICE_GIVEN;
    if (label[length] != '\0') return number_of(label + length + 1, &options->device.device_id);
    options->flags |= AB_CONVERT_DEVICE_KIND;
    return 1;
  }
  return 0;
}

/* Says which labels there are. A kind that is only spelt differently is named first. */
static void raise_no_device(const char *label) {
  char names[256] = "";
  size_t used = 0;
  for (size_t index = 0; index < KINDS && used < sizeof names; index++)
    used += (size_t)snprintf(names + used, sizeof names - used, "%s\"%s\"", index != 0 ? ", " : "", kinds[index].name);
  PyObject *meant = native_meant("device", label);
  PyObject *shown = native_text(label);
  if (meant != NULL && shown != NULL)
    PyErr_Format(PyExc_ValueError,
                 "device must be one of %s, alone or with a number as in \"cuda:1\", or \"host\", \"accelerator:0\", "
                 "\"device:NAME\"; not %R%U",
                 names, shown, meant);
  Py_XDECREF(meant);
  Py_XDECREF(shown);
}

static int read_label(const char *label, const ab_backend *target, ab_convert_options *options) {
  static const char accelerator[] = "accelerator:";
  static const char named[] = "device:";
  int32_t number = 0;
  if (strcmp(label, "host") == 0) label = "cpu";
  if (read_kind(label, options)) return 0;
  const int asks = target != NULL;
  if (asks && strncmp(label, accelerator, sizeof accelerator - 1) == 0 &&
      number_of(label + sizeof accelerator - 1, &number))
    return ask_backend(label, target, &(wanted_device){.index = number}, options);
  if (asks && strncmp(label, named, sizeof named - 1) == 0)
    return ask_backend(label, target, &(wanted_device){.name = label + sizeof named - 1}, options);
  raise_no_device(label);
  return -1;
}

/* A str as it is; Device objects of the 0.5 API by their label; others (torch.device) by what they print. */
static PyObject *label_of(PyObject *value) {
  if (PyUnicode_Check(value)) return Py_NewRef(value);
  PyObject *label = PyObject_GetAttrString(value, "label");
  if (label != NULL && PyUnicode_Check(label)) return label;
  Py_XDECREF(label);
  return native_no() == 0 ? PyObject_Str(value) : NULL;
}

int native_device_read(PyObject *value, const ab_backend *target, ab_convert_options *options) {
  if (PyLong_Check(value)) {
    PyErr_SetString(PyExc_TypeError, "device must be a name such as \"cuda:1\"; for a number there is gpu_id");
    return -1;
  }
  PyObject *label = label_of(value);
  if (label == NULL) return -1;
  const char *text = native_utf8(label);
  const int result = text != NULL ? read_label(text, target, options) : -1;
  Py_DECREF(label);
  return result;
}
