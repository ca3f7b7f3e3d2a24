/* SPDX-License-Identifier: MIT */
#include <dlfcn.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>

#include <arraybridge/plugin.h>

#include "native.h"

/* Names that were asked for, found by address: code asks with the same few interned strings again and again. Each
 * keeps a reference, and none is ever removed, so readers need no lock beside the GIL. */
enum { NAMES = 32 };
typedef struct known_name {
  PyObject *name;
  const ab_backend *backend;
} known_name;
static known_name known[NAMES];
static atomic_int known_count;
static pthread_mutex_t known_lock = PTHREAD_MUTEX_INITIALIZER; /* writers; only free-threaded Pythons have several */

static void names_lock(void) { pthread_mutex_lock(&known_lock); }
static void names_unlock(void) { pthread_mutex_unlock(&known_lock); }

int native_names_init(void) { return pthread_atfork(names_lock, names_unlock, names_unlock); }

/* Returns 1 if the list took the name, and with it the caller's reference. */
static int append(PyObject *name, const ab_backend *backend) {
  pthread_mutex_lock(&known_lock);
  const int count = atomic_load_explicit(&known_count, memory_order_relaxed);
  int is_new = count < NAMES;
  for (int index = 0; index < count; index++) is_new = is_new && known[index].name != name;
  if (is_new) {
    known[count] = (known_name){name, backend};
    atomic_store_explicit(&known_count, count + 1, memory_order_release);
  }
  pthread_mutex_unlock(&known_lock);
  return is_new;
}

static void remember(PyObject *name, const ab_backend *backend) {
  if (!PyUnicode_CheckExact(name)) return;
  Py_INCREF(name);
  PyUnicode_InternInPlace(&name);
  if (!append(name, backend)) Py_DECREF(name);
}

/* The public API does not say for which runtime a backend is; the plugin's own descriptor does. */
int native_is_for_python(const ab_backend *backend) {
  void *library = dlopen(ab_backend_path(backend), RTLD_NOW | RTLD_LOCAL | RTLD_NOLOAD);
  if (library == NULL) return 0;
  const ab_plugin_descriptor *descriptor = dlsym(library, AB_PLUGIN_SYMBOL);
  const int python = descriptor != NULL && descriptor->runtime == AB_RUNTIME_PYTHON;
  dlclose(library); /* only the reference that NOLOAD has added */
  return python;
}

static const ab_backend *checked(const ab_backend *backend) {
  if (native_is_for_python(backend)) return backend;
  ab_error error;
  ab_error_init(&error);
  ab_error_set(&error, AB_UNSUPPORTED, "%s is a backend for C programs: its arrays are no Python objects",
               ab_backend_name(backend));
  native_raise(AB_UNSUPPORTED, &error, "", ab_backend_name(backend), "backend");
  return NULL;
}

static const ab_backend *find(const char *text) {
  const ab_backend *backend = NULL;
  if (native_discover() != 0) return NULL;
  if (ab_bridge_backend(native_bridge(), text, &backend, NULL) == AB_OK) return checked(backend);
  if (native_discover_announced() < 0) return NULL;
  ab_error error;
  ab_error_init(&error);
  const ab_status status = ab_bridge_backend(native_bridge(), text, &backend, &error);
  if (status == AB_OK) return checked(backend);
  native_raise(status, &error, "", text, "backend");
  return NULL;
}

const char *native_utf8(PyObject *object) {
  Py_ssize_t size = 0;
  const char *text = PyUnicode_AsUTF8AndSize(object, &size);
  if (text == NULL || strlen(text) == (size_t)size) return text;
  PyErr_Format(PyExc_ValueError, "%R has a NUL character in it", object);
  return NULL;
}

static const ab_backend *find_text(PyObject *name) {
  const char *text = native_utf8(name);
  const ab_backend *backend = text != NULL ? find(text) : NULL;
  if (backend != NULL) remember(name, backend);
  return backend;
}

static const ab_backend *find_slowly(PyObject *name, const char *named) {
  if (PyUnicode_Check(name)) return find_text(name);
  PyObject *value = PyObject_GetAttrString(name, "value"); /* the enum MemoryType, ours or an older one */
  const ab_backend *backend = NULL;
  if (value != NULL && PyUnicode_Check(value)) {
    backend = find_text(value);
  } else if (native_no() == 0) {
    PyErr_Format(PyExc_TypeError, "%s must be the name of a backend, such as \"torch\", not %R", named, name);
  }
  Py_XDECREF(value);
  return backend;
}

const ab_backend *native_backend_of(PyObject *name, const char *named) {
  const int count = atomic_load_explicit(&known_count, memory_order_acquire);
  for (int index = 0; index < count; index++)
    if (known[index].name == name) return known[index].backend;
  return find_slowly(name, named);
}

PyObject *native_backend_name(const ab_backend *backend) {
  return PyUnicode_InternFromString(ab_backend_name(backend));
}

const ab_backend *native_owner_of(PyObject *object, ab_error *error) {
  const ab_backend *backend = NULL;
  if (native_discover() != 0) return NULL;
  const ab_status status = ab_detect(native_bridge(), object, &backend, error);
  if (status == AB_OK) return backend;
  if (status != AB_NOT_RECOGNIZED) return NULL;
  /* A type nobody knows may belong to a plugin that is only announced. */
  if (native_discover_announced() <= 0) return NULL;
  ab_error_clear(error);
  return ab_detect(native_bridge(), object, &backend, error) == AB_OK ? backend : NULL;
}

static int count_broken(void *context, const ab_trace_entry *entry) {
  const size_t length = strlen(entry->path);
  const int is_file = length > 3 && strcmp(entry->path + length - 3, ".so") == 0;
  // UNSUPPORTED is a second plugin of a name that is taken: the first one works.
  if (is_file && entry->status != AB_OK && entry->status != AB_UNSUPPORTED) ++*(unsigned *)context;
  return 0;
}

static void add_broken(ab_error *error) {
  unsigned broken = 0;
  ab_bridge_trace(native_bridge(), count_broken, &broken);
  if (broken == 0) return;
  const size_t used = strlen(error->text);
  snprintf(error->text + used, sizeof error->text - used, "; %u plugin%s did not load: arraybridge doctor", broken,
           broken == 1 ? "" : "s");
}

/* What NumPy makes an array of: numbers, lists, scalars, and whatever offers itself as an array. */
static int numpy_takes(PyObject *object) {
  static const char *const offers[] = {"__array__", "__array_interface__"};
  if (PyList_Check(object) || PyTuple_Check(object)) return 1;
  if (PyLong_Check(object) || PyFloat_Check(object) || PyComplex_Check(object)) return 1;
  for (size_t index = 0; index < sizeof offers / sizeof offers[0]; index++) {
    PyObject *offer = PyObject_GetAttrString((PyObject *)Py_TYPE(object), offers[index]);
    Py_XDECREF(offer);
    if (offer != NULL) return 1;
    if (native_no() != 0) return 0;
  }
  return 0;
}

static void hint_not_owned(PyObject *object, ab_error *error) {
  if (object == Py_None) ab_error_hint(error, "it is None: look where it comes from");
  else if (numpy_takes(object)) ab_error_hint(error, "pass np.asarray(x)");
}

int native_not_owned(PyObject *object, ab_error *error) {
  if (PyErr_Occurred()) {
    ab_error_clear(error);
    return 0;
  }
  if (error->status == AB_INTERNAL || error->status == AB_CANCELLED) return 1;
  ab_error_clear(error);
  char type[96];
  char names[400] = "";
  size_t used = 0;
  native_type_name(object, type, sizeof type);
  const uint32_t count = ab_bridge_backend_count(native_bridge());
  for (uint32_t index = 0; index < count && used < sizeof names; index++)
    used += (size_t)snprintf(names + used, sizeof names - used, "%s%s", index != 0 ? ", " : "",
                             ab_backend_name(ab_bridge_backend_at(native_bridge(), index)));
  ab_error_set(error, AB_NOT_RECOGNIZED, "an object of type %s is no array of %s", type,
               count != 0 ? names : "any backend: none is loaded");
  if (count == 0) ab_error_hint(error, "`arraybridge doctor` shows every file that was looked at");
  else add_broken(error);
  if (count != 0) hint_not_owned(object, error);
  return PyErr_Occurred() == NULL;
}
