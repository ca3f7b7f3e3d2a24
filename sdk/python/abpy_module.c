/* SPDX-License-Identifier: MIT
 * Modules, their attributes and types, and references to objects. */
#include "abpy.h"

/* ------------------------------------------------------------------ references */

void abpy_drop(void *object) { Py_XDECREF((PyObject *)object); }

void abpy_retain(void *self, void *array) {
  (void)self;
  Py_INCREF((PyObject *)array);
}

void abpy_release(void *self, void *array) {
  (void)self;
  Py_DECREF((PyObject *)array);
}

/* ------------------------------------------------------------------ modules and types */

PyObject *abpy_imported(const char *module) {
  PyObject *modules = PyImport_GetModuleDict();
  PyObject *found = modules != NULL ? PyDict_GetItemString(modules, module) : NULL;
  // sys.modules[name] = None is how a program forbids an import.
  return found == Py_None ? NULL : found;
}

/// 1 if the import of `module` has not come to its end. For another thread's import Python waits, so it is our own:
/// code that runs during the import, such as a signal handler, has come here.
static int is_half_imported(PyObject *module) {
  PyObject *flag = abpy_attribute(module, "__spec__._initializing");
  const int half = flag == Py_True;
  Py_XDECREF(flag);
  return half;
}

PyObject *abpy_import(const ab_call *call, const char *module, const char *pip_name) {
  PyObject *imported = PyImport_ImportModule(module);
  if (imported != NULL && is_half_imported(imported)) {
    Py_DECREF(imported);
    ab_error_set(call->error, AB_UNAVAILABLE, "%s is being imported right now: it cannot be used yet", module);
    ab_error_hint(call->error,
                  "convert after `import %s` has returned, not in what runs during it, such as a signal "
                  "handler",
                  module);
    return NULL;
  }
  if (imported != NULL) return imported;
  char what[128];
  snprintf(what, sizeof what, "%s cannot be imported", module);
  if (abpy_error(call, AB_UNAVAILABLE, what) == AB_UNAVAILABLE) ab_error_hint(call->error, "pip install %s", pip_name);
  return NULL;
}

PyObject *abpy_attribute(PyObject *object, const char *dotted) {
  char name[128];
  Py_INCREF(object);
  while (object != NULL) {
    const size_t length = strcspn(dotted, ".");
    snprintf(name, sizeof name, "%.*s", (int)length, dotted);
    PyObject *next = length < sizeof name ? PyObject_GetAttrString(object, name) : NULL;
    if (next == NULL) abpy_clear();
    Py_DECREF(object);
    object = next;
    if (dotted[length] == '\0') break;
    dotted += length + 1;
  }
  return object;
}

int abpy_has(PyObject *object, const char *name) {
  PyObject *value = abpy_attribute(object, name);
  Py_XDECREF(value);
  return value != NULL;
}

PyTypeObject *abpy_type(const char *module, const char *name) {
  PyObject *imported = abpy_imported(module);
  PyObject *type = imported != NULL ? abpy_attribute(imported, name) : NULL;
  if (type != NULL && PyType_Check(type)) return (PyTypeObject *)type;
  Py_XDECREF(type);
  return NULL;
}

void abpy_prepare_device(const ab_services *services, int32_t device_type) {
  const ab_device_ops *ops = services->device_ops(services->core, device_type);
  if (ops == NULL || !AB_HAS_FIELD(ops, ab_device_ops, prepare) || ops->prepare == NULL) return;
  ab_report report = {.struct_size = (uint32_t)sizeof report};
  ab_error error;
  ab_error_init(&error);
  const ab_call call = {.struct_size = (uint32_t)sizeof call,
                        .flags = AB_CALL_NO_TEXT,
                        .self = ops->self,
                        .report = &report,
                        .error = &error};
  void *token = services->blocking_begin(services->core);
  ops->prepare(&call);
  services->blocking_end(services->core, token);
  ab_error_clear(&error);
}

void abpy_default_environment(const char *name, const char *value) {
  PyObject *os = PyImport_ImportModule("os");
  PyObject *environ_ = os != NULL ? PyObject_GetAttrString(os, "environ") : NULL;
  PyObject *old = environ_ != NULL ? PyObject_CallMethod(environ_, "setdefault", "ss", name, value) : NULL;
  if (old == NULL) abpy_clear();
  Py_XDECREF(old);
  Py_XDECREF(environ_);
  Py_XDECREF(os);
}

/* ------------------------------------------------------------------ what is known without importing */

/// Calls MODULE.FUNCTION(argument). New reference; NULL with the exception cleared.
static PyObject *call_with_text(const char *module, const char *function, const char *argument) {
  PyObject *imported = PyImport_ImportModule(module);
  PyObject *result = imported != NULL ? PyObject_CallMethod(imported, function, "s", argument) : NULL;
  if (result == NULL) abpy_clear();
  Py_XDECREF(imported);
  return result;
}

/// Copies the text `string`, a new reference that is taken; NULL and other objects give 0.
static int take_text(PyObject *string, char *text, size_t size) {
  const char *characters = string != NULL && PyUnicode_Check(string) ? PyUnicode_AsUTF8AndSize(string, NULL) : NULL;
  if (characters != NULL) snprintf(text, size, "%s", characters);
  if (characters == NULL) abpy_clear();
  Py_XDECREF(string);
  return characters != NULL;
}

static int find_version(const char *distributions, char *version, size_t size) {
  char name[128];
  while (*distributions != '\0') {
    const size_t length = strcspn(distributions, " ");
    snprintf(name, sizeof name, "%.*s", (int)length, distributions);
    if (take_text(call_with_text("importlib.metadata", "version", name), version, size)) return 1;
    distributions += length + strspn(distributions + length, " ");
  }
  return 0;
}

static int is_installed(const char *module) {
  // find_spec() of "a.b" would import a: the top is asked for instead.
  char top[128];
  snprintf(top, sizeof top, "%.*s", (int)strcspn(module, "."), module);
  PyObject *spec = call_with_text("importlib.util", "find_spec", top);
  const int installed = spec != NULL && spec != Py_None;
  Py_XDECREF(spec);
  return installed;
}

ab_status abpy_probe(const ab_call *call, ab_framework_info *info, const char *module, const char *distribution) {
  (void)call;
  ab_framework_info found = {.struct_size = (uint32_t)sizeof found};
  PyObject *imported = abpy_imported(module);
  if (imported != NULL) found.flags |= AB_FRAMEWORK_IMPORTED | AB_FRAMEWORK_INSTALLED;
  if (imported != NULL || is_installed(module)) {
    found.flags |= AB_FRAMEWORK_INSTALLED;
    if (!find_version(distribution, found.version, sizeof found.version) && imported != NULL) {
      take_text(abpy_attribute(imported, "__version__"), found.version, sizeof found.version);
    }
  } else {
    snprintf(found.detail, sizeof found.detail, "%s is not installed: pip install %.*s", module,
             (int)strcspn(distribution, " "), distribution);
  }
  ab_struct_fill(info, &found, (uint32_t)sizeof found);
  return AB_OK;
}
