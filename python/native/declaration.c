/* SPDX-License-Identifier: MIT
 * The type of declarations. */
#include "declaration.h"

static PyTypeObject *declaration_type;

/* ------------------------------------------------------------------ life */

static int traverse(PyObject *self, visitproc visit, void *arg) {
  native_declaration *d = (native_declaration *)self;
  Py_VISIT(Py_TYPE(self));
  Py_VISIT(d->function);
  Py_VISIT(d->rare);
  Py_VISIT(d->settle);
  Py_VISIT(d->recover);
  Py_VISIT(d->contract);
  Py_VISIT(d->order);
  Py_VISIT(d->names);
  Py_VISIT(d->gpu_id);
  Py_VISIT(d->device);
  Py_VISIT(d->stream);
  return 0;
}

static int clear(PyObject *self) {
  native_declaration *d = (native_declaration *)self;
  Py_CLEAR(d->function);
  Py_CLEAR(d->rare);
  Py_CLEAR(d->settle);
  Py_CLEAR(d->recover);
  Py_CLEAR(d->contract);
  Py_CLEAR(d->order);
  Py_CLEAR(d->names);
  Py_CLEAR(d->gpu_id);
  Py_CLEAR(d->device);
  Py_CLEAR(d->stream);
  return 0;
}

static void deallocate(PyObject *self) {
  PyTypeObject *type = Py_TYPE(self);
  PyObject_GC_UnTrack(self);
  clear(self);
  PyObject_GC_Del(self);
  Py_DECREF(type);
}

/* A copy in another process is made by the Python side, which knows all of it. */
static PyObject *reduce(PyObject *self, PyObject *nothing) {
  (void)nothing;
  PyObject *owner = PyObject_GetAttrString(((native_declaration *)self)->rare, "__self__");
  PyObject *result = owner != NULL ? PyObject_CallMethod(owner, "reduce_native", NULL) : NULL;
  Py_XDECREF(owner);
  return result;
}

#define FAST(name, function, text) \
  { name, (PyCFunction)(void (*)(void))(function), METH_FASTCALL, text }

static PyMethodDef methods[] = {
    FAST("call", native_declaration_call, "call(args, kwargs)\n--\n\nCall the function: arguments in, result out."),
    FAST("begin", native_declaration_begin,
         "begin(args, kwargs)\n--\n\nGive (args, kwargs, reference): converted in, and the first array as it came."),
    FAST("finish", native_declaration_finish, "finish(result, reference)\n--\n\nGive the result as it shall be."),
    FAST("take", native_declaration_take,
         "take(value, chosen=None)\n--\n\nGive the value with its arrays converted in."),
    {"__reduce__", reduce, METH_NOARGS, NULL},
    {NULL, NULL, 0, NULL},
};

/* ISO C has no conversion of a function's address to void *. */
#define ADDRESS(function) (void *)(uintptr_t)(function)

static PyType_Slot slots[] = {
    {Py_tp_traverse, ADDRESS(traverse)},
    {Py_tp_clear, ADDRESS(clear)},
    {Py_tp_dealloc, ADDRESS(deallocate)},
    {Py_tp_methods, methods},
    {0, NULL},
};

static PyType_Spec spec = {
    .name = "arraybridge._native.Declaration",
    .basicsize = (int)sizeof(native_declaration),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = slots,
};

static PyTypeObject *type_of_declarations(void) {
  if (declaration_type == NULL) declaration_type = (PyTypeObject *)PyType_FromSpec(&spec);
  return declaration_type;
}

/* ------------------------------------------------------------------ making one */

enum {
  FUNCTION,
  RARE,
  SETTLE,
  RECOVER,
  CONTRACT,
  ORDER,
  NAMES,
  GPU_ID,
  DEVICE,
  INPUT,
  OUTPUT,
  PLACES,
  FLAGS,
  CASTING,
  STREAM
};

static PyObject *given(PyObject *value) { return value == Py_None ? NULL : Py_NewRef(value); }

static int read_backends(PyObject *const *values, const ab_backend **input, const ab_backend **output) {
  *output = NULL;
  *input = native_backend_of(values[INPUT], "input_type");
  if (*input == NULL) return -1;
  if (values[OUTPUT] == Py_None) return 0;
  *output = native_backend_of(values[OUTPUT], "output_type");
  return *output != NULL ? 0 : -1;
}

static void fill(native_declaration *d, PyObject *const *values) {
  d->function = Py_NewRef(values[FUNCTION]);
  d->rare = Py_NewRef(values[RARE]);
  d->settle = Py_NewRef(values[SETTLE]);
  d->recover = Py_NewRef(values[RECOVER]);
  d->contract = given(values[CONTRACT]);
  d->order = Py_NewRef(values[ORDER]);
  d->names = Py_NewRef(values[NAMES]);
  d->gpu_id = given(values[GPU_ID]);
  d->device = given(values[DEVICE]);
  d->stream = values[STREAM] == Py_False ? NULL : given(values[STREAM]);
}

static int check_types(PyObject *const *values) {
  if (PyTuple_Check(values[ORDER]) && PyAnySet_Check(values[NAMES])) return 0;
  PyErr_SetString(PyExc_TypeError, "declaration() needs a tuple of parameters and a set of names");
  return -1;
}

NATIVE_CALL(native_declare) {
  (void)module;
  static const native_signature signature = {
      "declaration",
      {"function", "rare", "settle", "recover", "contract", "order", "names", "gpu_id", "device", "input", "output",
       "places", "flags", "casting", "stream"},
      15,
      15};
  PyObject *values[NATIVE_MAX_ARGUMENTS];
  if (native_arguments(&signature, args, count, names, values) != 0 || check_types(values) != 0) return NULL;
  const unsigned long long places = PyLong_AsUnsignedLongLong(values[PLACES]);
  const unsigned long flags = PyLong_AsUnsignedLong(values[FLAGS]);
  uint32_t casting = 0;
  if (PyErr_Occurred() || native_casting_read(values[CASTING], &casting) != 0) return NULL;
  const ab_backend *input = NULL;
  const ab_backend *output = NULL;
  if (read_backends(values, &input, &output) != 0 || type_of_declarations() == NULL) return NULL;
  native_declaration *d = PyObject_GC_New(native_declaration, declaration_type);
  if (d == NULL) return NULL;
  fill(d, values);
  d->input = input;
  d->output = output;
  d->places = places;
  d->flags = (uint32_t)flags;
  d->casting = casting;
  atomic_init(&d->home_type, NULL);
  atomic_init(&d->scopes, values[STREAM] == Py_False ? NATIVE_SCOPES_NEVER : NATIVE_SCOPES_UNKNOWN);
  PyObject_GC_Track((PyObject *)d);
  return (PyObject *)d;
}

/* count_policies(more): how many settings, anywhere, may change what decorated functions do. */
NATIVE_CALL(native_count_policies) {
  (void)module;
  static const native_signature signature = {"count_policies", {"more"}, 1, 1};
  PyObject *values[NATIVE_MAX_ARGUMENTS];
  if (native_arguments(&signature, args, count, names, values) != 0) return NULL;
  const long more = PyLong_AsLong(values[0]);
  if (more == -1 && PyErr_Occurred()) return NULL;
  native_policies_changed += (int)more;
  Py_RETURN_NONE;
}
