/* SPDX-License-Identifier: MIT
 * The parts of the module behind the Python shim. Internal to python/native.
 *
 * Every function needs the GIL, unless it says otherwise. One that returns -1 or NULL has set a Python exception.
 */
#ifndef ARRAYBRIDGE_NATIVE_H
#define ARRAYBRIDGE_NATIVE_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <arraybridge/arraybridge.h>

/* A built-in: METH_FASTCALL | METH_KEYWORDS. */
#define NATIVE_CALL(name) PyObject *name(PyObject *module, PyObject *const *args, Py_ssize_t count, PyObject *names)

/* ------------------------------------------------------------------ runtime.c: Python, as the core sees it */

extern const ab_runtime native_runtime;
/// Finds what the runtime needs. Once.
int native_runtime_init(void);
/// Asks for native_drain() on a thread that has the GIL. Threads: any-thread, no GIL.
void native_request_drain(void);
/// Runs what waits for the GIL.
void native_drain(void);
/// Marks the end of Python: nothing is released from now on.
void native_runtime_end(void);

/// The text of a str that C can read whole: one with an embedded NUL is a ValueError. Borrowed from `object`; NULL:
/// error.
const char *native_utf8(PyObject *object);

/* ------------------------------------------------------------------ discovery.c: the bridge and its plugins */

/// The one bridge of the process. Borrowed; never NULL after native_bridge_init().
ab_bridge *native_bridge(void);
int native_bridge_init(void);
/// Keeps the list of known names whole in a forked child. Returns 0, else there is no memory for that.
int native_names_init(void);
/// Loads the plugins, once: the first call that needs one pays for it.
int native_discover(void);
/// Looks at what installed distributions announce, once. Returns: 1 looked just now; 0 had looked before; -1.
int native_discover_announced(void);

/* ------------------------------------------------------------------ target_name.c: names of backends */

/// The backend of a name: a str, or an enum member whose value is one. `named`: how the caller calls the argument.
/// Backends whose arrays are no Python objects are refused.
const ab_backend *native_backend_of(PyObject *name, const char *named);
/// 1 if the backend's arrays are Python objects.
int native_is_for_python(const ab_backend *backend);
/// The name as a new reference to an interned str.
PyObject *native_backend_name(const ab_backend *backend);
/// The backend that owns `object`; NULL if none does, with or without an exception: ask native_not_owned().
const ab_backend *native_owner_of(PyObject *object, ab_error *error);
/// After native_owner_of() gave NULL: puts into `error` what `object` is and is not (AB_NOT_RECOGNIZED), or leaves the
/// defect of a plugin there, and returns 1; 0 if an exception is set already.
int native_not_owned(PyObject *object, ab_error *error);

/* ------------------------------------------------------------------ arguments.c: positional and keyword arguments */

enum { NATIVE_MAX_ARGUMENTS = 16 };

typedef struct native_signature {
  const char *function;
  const char *names[NATIVE_MAX_ARGUMENTS]; /* ends with NULL */
  Py_ssize_t positional;                   /* how many may be given by place */
  Py_ssize_t required;                     /* how many must be given, from the first */
} native_signature;

/// Sorts the arguments of a call into `values` (borrowed; NULL where not given), one for each name.
int native_arguments(const native_signature *signature, PyObject *const *args, Py_ssize_t count, PyObject *names,
                     PyObject **values);

/* ------------------------------------------------------------------ request.c: the keywords of a conversion */

/// The keywords that convert(), convert_memory() and plan() share, in this order.
#define NATIVE_KEYWORDS \
  "gpu_id", "device", "copy", "casting", "dtype", "stream", "immutable", "mutable", "scaling", "nan"
/// Where the two that share a place in convert_memory() stand.
enum { NATIVE_GPU_ID = 0, NATIVE_DEVICE = 1 };

/// What one conversion is asked to do. Points into itself: never copied.
typedef struct native_request {
  ab_convert_options options;
  ab_stream stream;
} native_request;

/// Fills `request` from the process's settings, this context's, and the keywords. End it with native_request_end().
int native_request_begin(native_request *request, const ab_backend *target, PyObject *const *keywords);
void native_request_end(native_request *request);
/// Read the words of `scaling`, a number for `nan`, and a dtype of any library.
int native_scaling_read(PyObject *value, ab_convert_options *options);
int native_nan_read(PyObject *value, ab_convert_options *options);
int native_dtype_read(PyObject *value, ab_convert_options *options);
/// Reads NumPy's word for what a change of dtype may do, an ab_casting.
int native_casting_read(PyObject *value, uint32_t *casting);

/* ------------------------------------------------------------------ convert_call.c */

/// One conversion, recorded if somebody collects records. `claimed`: the backend that `object` must be of; NULL: any.
PyObject *native_convert_with(PyObject *object, const ab_backend *claimed, const ab_backend *target,
                              const ab_convert_options *options);

/* ------------------------------------------------------------------ declaration.c, declaration_call.c */

/// 0 while every setting that decorated functions look at is at its default.
extern int native_policies_changed;

/* ------------------------------------------------------------------ device_label.c */

/// "cpu:0" as a new reference; "several" for a device_type of 0.
PyObject *native_device_label(DLDevice device);
/// Reads a device: "cuda:1", "cpu", "host", "accelerator:0", "device:NAME", or an object with such a label. `target`:
/// who knows the last two by name; NULL: they are refused.
int native_device_read(PyObject *value, const ab_backend *target, ab_convert_options *options);

/* ------------------------------------------------------------------ stream_argument.c */

/// Reads a stream: an integer, or an object that shows one. `device`: where it belongs unless it says so itself.
/// `stream` owns a reference afterwards: give it to native_stream_end().
int native_stream_read(PyObject *value, DLDevice device, ab_stream *stream);
void native_stream_end(ab_stream *stream);
/// Drops what streams have kept alive beyond their call.
void native_stream_drain(void);

/* ------------------------------------------------------------------ scope_call.c */

/// The CUDA device of a backend with this number, -1: its default one. Starts the framework. Returns: AB_OK;
/// AB_NO_DEVICE; what the framework said. `error` is filled in.
ab_status native_cuda_device(const ab_backend *backend, int32_t id, DLDevice *device, ab_error *error);

/* ------------------------------------------------------------------ settings.c: what the keywords default to */

/// 0 while every setting is at its default: the options of a call without keywords are then native_default_options.
extern int native_settings_changed;
extern const ab_convert_options native_default_options;
/// Applies the settings of the process and of this context.
int native_settings_apply(ab_convert_options *options);
NATIVE_CALL(native_set_settings);
NATIVE_CALL(native_scope_settings);

/* ------------------------------------------------------------------ record_values.c: what was done */

/// 0 while nobody anywhere collects records.
extern int native_recorders;
/// Who collects records in this context: a new reference, None for nobody.
PyObject *native_record_sinks(void);
/// The record as keyword values for the Python classes: a new dict.
PyObject *native_record_values(const ab_record *record);
/// Gives the record to the sinks.
int native_record_deliver(PyObject *sinks, const ab_record *record);
NATIVE_CALL(native_count_recorders);

/* ------------------------------------------------------------------ conversion_error.c: the way out of every error */

/// Raises what `error` says, with the framework's own exception as the cause, and clears `error`. `source`, `target`:
/// names of backends or of a type. Returns NULL, always.
PyObject *native_raise(ab_status status, ab_error *error, const char *source, const char *target, const char *method);
/// ab_convert_options.progress: 1 once a signal's handler has raised something (KeyboardInterrupt).
int native_listen(void *context, uint64_t done, uint64_t total);
/// Makes that pending, if there is something: 1.
int native_listen_raise(void);
/// Clears the pending exception of a question that may be answered with "no": 0. One that asks the program to stop
/// (KeyboardInterrupt out of a signal handler, SystemExit: no Exception) stays pending: -1.
int native_no(void);
/// Text of any origin as a new str: bytes that are no UTF-8 (a cut character, a file name) are replaced.
PyObject *native_text(const char *text);
/// "; did you mean …?" for a `word` that is no "dtype" or "device", or an empty str. New reference; NULL: error.
PyObject *native_meant(const char *what, const char *word);
/// The name of the object's type, for messages. Borrows; the text is copied.
void native_type_name(PyObject *object, char *text, size_t size);

/* ------------------------------------------------------------------ module.c: what the Python side connects */

typedef struct native_hooks {
  PyObject *error;      ///< (unknown_backend, source, target, method, reason, hint, status) -> the exception to raise
  PyObject *announced;  ///< () -> list of paths
  PyObject *meant;      ///< (what, word) -> "; did you mean …?" or ""
  PyObject *plan;       ///< (values) -> Plan
  PyObject *describe;   ///< (values) -> ArrayDescription
  PyObject *sinks;      ///< () -> who collects records in this context, or None; set before native_recorders is
  PyObject *deliver;    ///< (sinks, values); the same
  PyObject *rebuild;    ///< (container, items) -> a container of the same type; set before a declaration is made, as
                        ///< are the next five
  PyObject *cast;       ///< (array, result, overflowed): a dtype had to be changed on the way into a decorated function
  PyObject *unfit;      ///< (problem, array, dtype, count) -> the exception for integers that dtype does not have
  PyObject *numbers;    ///< (array) -> whether its elements are numbers
  PyObject *owns;       ///< (function, object) -> whether the function is a method of the object's class
  PyObject *prefers;    ///< () -> whether host arrays go to an accelerator by themselves
  PyObject *leaves;     ///< (exception): it leaves a decorated function
  PyObject *scope;  ///< () -> (mask, flags, threads, max_retries, pinned_memory) of this context, or None; set before a
                    ///< scope is counted
} native_hooks;
extern native_hooks native_hook;

/* ------------------------------------------------------------------ the built-ins */

NATIVE_CALL(native_convert);
NATIVE_CALL(native_convert_memory);
NATIVE_CALL(native_plan);
NATIVE_CALL(native_detect);
NATIVE_CALL(native_describe);
NATIVE_CALL(native_backends);
NATIVE_CALL(native_devices);
NATIVE_CALL(native_trace);
NATIVE_CALL(native_pending);
NATIVE_CALL(native_release_pools);
NATIVE_CALL(native_prepare);

/* stream_call.c */

NATIVE_CALL(native_record_stream);
NATIVE_CALL(native_enter_scope);
NATIVE_CALL(native_exit_scope);
NATIVE_CALL(native_scope_stream);
NATIVE_CALL(native_scale);
NATIVE_CALL(native_survey);
NATIVE_CALL(native_declare);
NATIVE_CALL(native_count_policies);
NATIVE_CALL(native_move_out);
NATIVE_CALL(native_stack);
NATIVE_CALL(native_unstack);
NATIVE_CALL(native_judge);
NATIVE_CALL(native_recover);
NATIVE_CALL(native_read_device);
NATIVE_CALL(native_holdings);
NATIVE_CALL(native_clear_caches);

#endif
