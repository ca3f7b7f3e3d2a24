/* SPDX-License-Identifier: MIT
 * The module object that the shim takes its built-ins from. It is not imported but opened through ctypes: a built-in
 * costs 33 ns a call there as everywhere, and the file needs no name that depends on the interpreter. */
#include "native.h"

native_hooks native_hook;

typedef struct hook_place {
  const char *name;
  PyObject **place;
} hook_place;

static const hook_place hook_places[] = {
    {"error", &native_hook.error},       {"announced", &native_hook.announced}, {"plan", &native_hook.plan},
    {"describe", &native_hook.describe}, {"sinks", &native_hook.sinks},         {"deliver", &native_hook.deliver},
    {"scope", &native_hook.scope},       {"rebuild", &native_hook.rebuild},     {"cast", &native_hook.cast},
    {"numbers", &native_hook.numbers},   {"prefers", &native_hook.prefers},     {"meant", &native_hook.meant},
    {"leaves", &native_hook.leaves},     {"unfit", &native_hook.unfit},         {"owns", &native_hook.owns},
};
enum { HOOKS = sizeof hook_places / sizeof hook_places[0] };

/* connect(hooks): what the C side calls of the Python side. Each module connects its own, before it is needed. */
static PyObject *connect(PyObject *module, PyObject *hooks) {
  (void)module;
  for (size_t index = 0; index < HOOKS; index++) {
    PyObject *hook = PyDict_GetItemString(hooks, hook_places[index].name); /* borrowed */
    if (hook == NULL) continue;
    PyObject *old = *hook_places[index].place;
    *hook_places[index].place = Py_NewRef(hook);
    Py_XDECREF(old);
  }
  Py_RETURN_NONE;
}

/* add_folder(path): where this distribution's own plugins are. */
static PyObject *add_folder(PyObject *module, PyObject *path) {
  (void)module;
  PyObject *bytes = NULL;
  if (!PyUnicode_FSConverter(path, &bytes)) return NULL;
  const ab_status status = ab_bridge_add_announced(native_bridge(), PyBytes_AsString(bytes), NULL);
  Py_DECREF(bytes);
  if (status != AB_OK) return PyErr_NoMemory();
  Py_RETURN_NONE;
}

static PyObject *drain(PyObject *module, PyObject *nothing) {
  (void)module;
  (void)nothing;
  native_drain();
  Py_RETURN_NONE;
}

/* end(): the exit hook. What is due now is still released, what comes later never. */
static PyObject *end(PyObject *module, PyObject *nothing) {
  (void)module;
  (void)nothing;
  native_drain();
  native_runtime_end();
  Py_RETURN_NONE;
}

#define POLICIES_TEXT                                                                \
  "copy=None, casting='no', dtype=None, stream=None, immutable=None, mutable=None, " \
  "scaling=None, nan=None)\n--\n\n"
#define KEYWORDS_TEXT "*, device=None, gpu_id=None, " POLICIES_TEXT
#define BUILT_IN(name, function, text) \
  { name, (PyCFunction)(void (*)(void))(function), METH_FASTCALL | METH_KEYWORDS, text }

PyDoc_STRVAR(
    convert_text,
    "convert(x, target, " KEYWORDS_TEXT
    "Hand an array to another framework, sharing its memory where that is possible.\n\n"
    "Parameters\n----------\n"
    "x : array of any backend\n"
    "    Any shape, strides and dtype; left as it is.\n"
    "target : str or enum member\n"
    "    Name of a backend: \"numpy\", \"torch\", \"jax\", \"tensorflow\", \"cupy\", \"pyclesperanto\", or a "
    "plugin's.\n"
    "device : str or object, optional\n"
    "    Exactly where: \"cpu\", \"cuda:1\", \"opencl:0\", \"host\". None: where the data is if the target can use "
    "that\n"
    "    memory, else the target's default.\n"
    "gpu_id : int, optional\n"
    "    The older spelling of a place: accelerator number `gpu_id` of the target framework, the host if it has none "
    "at all.\n"
    "copy : bool, optional\n"
    "    None copies only if it must, True always, False never.\n"
    "casting : {\"no\", \"equiv\", \"safe\", \"same_kind\", \"unsafe\"}\n"
    "    What a change of dtype may do, in NumPy's words; \"equiv\" is \"no\". Beyond \"safe\" values may change, as "
    "in "
    "a plain\n"
    "    cast: integers wrap, floats are rounded and become infinite, and to integers their fractions are cut off, "
    "they\n"
    "    saturate, and NaN becomes 0.\n"
    "dtype : str or dtype of any framework, optional\n"
    "    The result's, as far as `casting` allows. None keeps the array's; where the target lacks that and `casting` "
    "is given,\n"
    "    it becomes the nearest one that the target has.\n"
    "stream : int or stream object, optional\n"
    "    The consumer's stream; None: the target framework's current one. An int is a CUDA handle: 0 and 1 are the "
    "legacy\n"
    "    default stream, 2 the calling thread's.\n"
    "immutable, mutable : {\"share\", \"copy\"}, optional\n"
    "    Whether arrays that are immutable by convention, or that can be written, are shared or copied. None: as\n"
    "    `arraybridge.options` says, which is \"share\".\n"
    "scaling : {\"clip\", \"unit\", \"exact\", \"minmax\", \"wrap\"}, optional\n"
    "    With `dtype`: how values become those of the other dtype; `casting` is then not asked. Integers are never "
    "stretched.\n"
    "nan : number, optional\n"
    "    With `scaling`: what stands in an integer result in place of NaN (of infinities as well, where the rule has "
    "no "
    "value\n"
    "    for them). None: NaN is an error that says where the first one is.\n\n"
    "Returns\n-------\n"
    "array of `target`\n"
    "    Same shape, and same dtype and values, bit for bit, unless `dtype`, `casting` or `scaling` allow others; `x` "
    "itself if\n"
    "    it is one already and nothing is to be changed.\n\n"
    "Raises\n------\n"
    "MemoryConversionError\n"
    "    With the source, the target, the reason, what to do, and the framework's own exception as the cause.\n"
    "UnknownBackendError\n"
    "    A MemoryConversionError and ValueError that names the backends there are.\n"
    "TypeError, ValueError\n"
    "    A keyword with a value that it cannot have.");

PyDoc_STRVAR(
    convert_memory_text,
    "convert_memory(data, source_type, target_type, gpu_id=None, device=None, *, " POLICIES_TEXT
    "Hand `data`, an array of `source_type`, to `target_type`.\n\n"
    "As convert(), but `source_type` is checked against the data: a mismatch is a MemoryConversionError. The fourth\n"
    "argument may be an accelerator's number (`gpu_id`) or a device.");

PyDoc_STRVAR(plan_text, "plan(x, target, " KEYWORDS_TEXT
                        "Say what convert() would do with the same arguments, without touching elements.\n\n"
                        "Returns\n-------\n"
                        "Plan\n"
                        "    Each step, whether it copies and how many bytes, and why the cheaper ways were refused. A "
                        "conversion that cannot\n"
                        "    be done is a plan as well: `possible` is False, `reason` and `hint` say why.");

PyDoc_STRVAR(detect_text,
             "detect_memory_type(data)\n--\n\n"
             "Name the backend that owns `data`, such as \"torch\".\n\n"
             "Raises\n------\nValueError\n    It is no array of a backend that is there.");

PyDoc_STRVAR(describe_text,
             "describe(x)\n--\n\n"
             "Say what an array is, without touching its elements.\n\n"
             "Returns\n-------\n"
             "ArrayDescription\n"
             "    backend, dtype, shape (elements), strides (bytes), device, mutability, and whether it can be shared "
             "and converted.\n\n"
             "Raises\n------\nValueError\n    It is no array of a backend that is there.");

PyDoc_STRVAR(drain_text,
             "drain()\n--\n\n"
             "Release now what waits for its turn: memory dropped on threads that could not release it themselves.");

PyDoc_STRVAR(pending_text,
             "pending()\n--\n\n"
             "Number of releases that wait for their turn, and the bytes they hold back.");

PyDoc_STRVAR(release_pools_text,
             "release_pools()\n--\n\n"
             "Give back the pinned host memory that transfers to and from devices have kept for the next ones.\n\n"
             "Returns\n-------\nint\n    Bytes. The option `pinned_memory` says how much there may be.");

PyDoc_STRVAR(prepare_text,
             "prepare()\n--\n\n"
             "Prepare device drivers so that libraries imported later cannot disturb them.\n\n"
             "TensorFlow imported before pyclesperanto's OpenCL driver is loaded makes some drivers crash. Call this "
             "before your own\n"
             "`import pyclesperanto`; conversions do it by themselves. Takes tens of milliseconds the first time.");

PyDoc_STRVAR(
    record_stream_text,
    "record_stream(x, stream)\n--\n\n"
    "Declare that work on `stream`, which no conversion has named, uses the memory of `x`.\n\n"
    "The memory is given back only after what has been enqueued there until `x` is dropped.\n\n"
    "Parameters\n----------\n"
    "x : array on an accelerator\n    The result of a conversion, or of a framework that can be told (torch).\n"
    "stream : int or stream object\n    A CUDA handle, or an object with __cuda_stream__, cuda_stream or "
    "ptr. An int may be destroyed at any time, so\n    every stream of its device is waited for in its "
    "place.\n\n"
    "Raises\n------\nMemoryConversionError\n    `x` is in host memory, or nobody can be told.");

static PyMethodDef methods[] = {
    BUILT_IN("convert", native_convert, convert_text),
    BUILT_IN("convert_memory", native_convert_memory, convert_memory_text),
    BUILT_IN("plan", native_plan, plan_text),
    BUILT_IN("detect_memory_type", native_detect, detect_text),
    BUILT_IN("describe", native_describe, describe_text),
    BUILT_IN("scale", native_scale, NULL),
    BUILT_IN("survey", native_survey, NULL),
    BUILT_IN("prepare", native_prepare, prepare_text),
    BUILT_IN("pending", native_pending, pending_text),
    BUILT_IN("release_pools", native_release_pools, release_pools_text),
    BUILT_IN("record_stream", native_record_stream, record_stream_text),
    BUILT_IN("enter_scope", native_enter_scope, NULL),
    BUILT_IN("exit_scope", native_exit_scope, NULL),
    BUILT_IN("scope_stream", native_scope_stream, NULL),
    BUILT_IN("backends", native_backends, NULL),
    BUILT_IN("devices", native_devices, NULL),
    BUILT_IN("load_trace", native_trace, NULL),
    BUILT_IN("set_settings", native_set_settings, NULL),
    BUILT_IN("scope_settings", native_scope_settings, NULL),
    BUILT_IN("count_recorders", native_count_recorders, NULL),
    BUILT_IN("stack", native_stack, NULL),
    BUILT_IN("unstack", native_unstack, NULL),
    BUILT_IN("judge", native_judge, NULL),
    BUILT_IN("recover", native_recover, NULL),
    BUILT_IN("read_device", native_read_device, NULL),
    BUILT_IN("holdings", native_holdings, NULL),
    BUILT_IN("clear_caches", native_clear_caches, NULL),
    BUILT_IN("declaration", native_declare, NULL),
    BUILT_IN("count_policies", native_count_policies, NULL),
    BUILT_IN("move", native_move_out, NULL),
    {"drain", drain, METH_NOARGS, drain_text},
    {"connect", connect, METH_O, NULL},
    {"add_folder", add_folder, METH_O, NULL},
    {"end", end, METH_NOARGS, NULL},
    {NULL, NULL, 0, NULL},
};

static PyModuleDef definition = {
    PyModuleDef_HEAD_INIT,
    .m_name = "arraybridge._native",
    .m_size = -1,
    .m_methods = methods,
};

AB_EXPORT PyObject *ab_python_module(void);

/// Gives the module, one and the same for every call. The shim calls it once.
PyObject *ab_python_module(void) {
  static PyObject *module;
  if (PyInterpreterState_GetID(PyInterpreterState_Get()) != 0) {
    PyErr_SetString(PyExc_ImportError, "arraybridge works in the main interpreter only");
    return NULL;
  }
  if (module != NULL) return Py_NewRef(module);
  if (native_runtime_init() != 0 || native_bridge_init() != 0) return NULL;
  PyObject *made = PyModule_Create(&definition);
  if (made == NULL) return NULL;
  if (PyModule_AddStringConstant(made, "version", ab_version()) != 0) {
    Py_DECREF(made);
    return NULL;
  }
  module = made;
  return Py_NewRef(module);
}
