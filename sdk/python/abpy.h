/* SPDX-License-Identifier: MIT
 *
 * abpy.h: helpers for plugins of Python frameworks. A static library (target arraybridge::python); it is compiled with
 * the limited API of Python 3.11, links no libpython and imports nothing.
 *
 * Every function here needs the GIL. None leaves a Python exception pending, unless it says so.
 */
#ifndef ARRAYBRIDGE_ABPY_H
#define ARRAYBRIDGE_ABPY_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <arraybridge/plugin.h>

#ifdef __cplusplus
extern "C" {
#endif

/// The runtime_abi for the descriptor of a plugin compiled against these headers.
#if defined(Py_GIL_DISABLED)
#define ABPY_STRINGIFY2(x) #x
#define ABPY_STRINGIFY(x) ABPY_STRINGIFY2(x)
#define ABPY_RUNTIME_ABI "cp" ABPY_STRINGIFY(PY_MAJOR_VERSION) ABPY_STRINGIFY(PY_MINOR_VERSION) "t"
#else
#define ABPY_RUNTIME_ABI "abi3-3.11"
#endif

/// Remembers the core's services, through which failures give up their exceptions. Call it first thing in create().
/// Ownership: borrows `services` for as long as the process.    Threads: once, no GIL needed.
void abpy_init(const ab_services *services);

/* ------------------------------------------------------------------ exceptions to errors */

/// Takes the pending exception into call->error as a failure (domain "python") and clears it. The text becomes
/// "WHAT: ExceptionType: message"; it is formatted only if somebody reads it.
/// Returns `status`, except: what asks the program to stop (see below) gives AB_CANCELLED; MemoryError AB_OOM.
/// With no exception pending: `status` with WHAT alone.
ab_status abpy_error(const ab_call *call, ab_status status, const char *what);

/// The same for create() and others that have no call.
ab_status abpy_error_to(ab_error *error, ab_status status, const char *what);

/// Takes the pending exception, normalised and with its traceback. Gives a reference; NULL if there is none.
PyObject *abpy_take_exception(void);

/// 1 if `exception` is an instance of exactly `module`.`name` (no subclass), without importing the module.
int abpy_exception_is(PyObject *exception, const char *module, const char *name);

/// One out-of-memory signature: an exact exception type, how str(exception) begins, and what stands further on in it.
typedef struct abpy_signature {
  const char *module;    ///< __module__ of the exact type; NULL: any
  const char *type;      ///< __qualname__ of the exact type
  const char *begins;    ///< NULL: in any way
  const char *contains;  ///< NULL: nothing is asked for. Never a loose word: other errors speak of memory, too
  ab_status verdict;     ///< AB_OOM or AB_TOO_LARGE
} abpy_signature;

/// Looks `failure` up in `count` signatures; AB_OK if none fits. Never fails.
ab_status abpy_match_failure(const ab_failure *failure, const abpy_signature *signatures, size_t count);

/// abpy_error(), and then AB_OOM or AB_TOO_LARGE in place of `status` where the exception fits a signature: how most
/// slots of a framework with an allocator of its own fail.
ab_status abpy_error_matched(const ab_call *call, ab_status status, const char *what, const abpy_signature *signatures,
                             size_t count);

/* ------------------------------------------------------------------ what asks the program to stop */

/* A signal handler runs inside whatever Python code is running, and may raise: KeyboardInterrupt, SystemExit, any
 * BaseException that is no Exception. So a look at an attribute can fail because the user has pressed Ctrl-C. A plugin
 * that would call PyErr_Clear() calls abpy_clear(); one that remembers what it has found asks abpy_stopped() first. */

/// 1 if `exception` asks the program to stop: it is no instance of Exception.
int abpy_asks_to_stop(PyObject *exception);

/// Drops the pending exception, if there is one: for a question that may be answered with "no". What asks the program
/// to stop is not lost: it is raised again as soon as Python code runs on this thread, at the latest when the call into
/// arraybridge returns. In the meantime the plugin goes on as if the answer were "no".
void abpy_clear(void);
/// The same for an exception that is not pending. Takes `exception`; NULL is fine.
void abpy_drop_exception(void *exception);

/// Whether the "no" of a question was a wish to stop. Before something is remembered for longer than the call (the end
/// of start(), capabilities()), and where a wrong "no" would be worse than none: `status = abpy_stopped(call)`.
/// Returns: AB_OK; AB_CANCELLED with the exception in call->error, the wish is then no longer waiting; AB_FRAMEWORK for
/// an ordinary exception of a signal handler. On threads other than the main one, where no handlers run: AB_OK.
ab_status abpy_stopped(const ab_call *call);

/* ------------------------------------------------------------------ modules and types */

/// The module if the process has imported it, else NULL. Borrowed (sys.modules keeps it). Imports nothing.
PyObject *abpy_imported(const char *module);

/// Imports `module`. Gives a new reference; NULL: AB_UNAVAILABLE with the reason and the `pip install HINT` hint is in
/// call->error. KeyboardInterrupt while importing is AB_CANCELLED (look at call->error->status). A module that this
/// very thread is importing at the moment (a signal handler, or the framework itself, has come here) is AB_UNAVAILABLE.
PyObject *abpy_import(const ab_call *call, const char *module, const char *pip_name);

/// Attribute by dotted path ("experimental.dlpack"). New reference; NULL with the exception cleared (abpy_clear()).
PyObject *abpy_attribute(PyObject *object, const char *dotted);

/// 1 if the object has the attribute. PyObject_HasAttr() does not tell a signal handler's exception from a "no".
int abpy_has(PyObject *object, const char *name);

/// The type `name` (dotted) of `module` if that is imported. New reference, or NULL. Imports nothing.
PyTypeObject *abpy_type(const char *module, const char *name);

/// os.environ.setdefault(name, value).
void abpy_default_environment(const char *name, const char *value);

/// Loads, before a framework is imported, what the core knows about devices of `device_type` (kDLOpenCL: the vendors'
/// libraries, with their own symbols), so that libraries of that framework cannot disturb it. Where it fails nothing is
/// lost: the framework will say why. Lets the GIL go meanwhile.
void abpy_prepare_device(const ab_services *services, int32_t device_type);

/// Fills `info` for a framework without importing it: `module` is what is imported, `distribution` what pip calls it.
/// Several names of distributions stand with a blank between them ("cupy-cuda13x cupy-cuda12x cupy"), the first one is
/// recommended to who has none. Always AB_OK.
ab_status abpy_probe(const ab_call *call, ab_framework_info *info, const char *module, const char *distribution);

/// callable(argument), 15 ns quicker than PyObject_CallFunctionObjArgs where Python allows it. New reference; NULL with
/// the exception pending.
PyObject *abpy_call_one(PyObject *callable, PyObject *argument);

/// object.name(argument…): at most 3 arguments, all PyObject pointers that are not NULL. New reference; NULL with the
/// exception pending.
#define abpy_method(object, ...) abpy_method_(object, __VA_ARGS__, (PyObject *)NULL)
PyObject *abpy_method_(PyObject *object, const char *name, ...);

/* ------------------------------------------------------------------ references */

/// Py_DECREF as a `drop` function for tensor_new(…, AB_TENSOR_DROP_NEEDS_LOCK, …).
void abpy_drop(void *object);
/// Slots retain and release of every Python plugin.
void abpy_retain(void *self, void *array);
void abpy_release(void *self, void *array);

/* ------------------------------------------------------------------ shapes */

/// The shape as a tuple. New reference; NULL with the exception pending.
PyObject *abpy_shape_tuple(int32_t ndim, const int64_t *shape);
/// Bytes of all elements of a tensor that the core has checked: nothing overflows.
uint64_t abpy_tensor_bytes(const DLTensor *tensor);

/* ------------------------------------------------------------------ capsules */

/// Consumes a DLPack capsule of either kind. Gives a versioned tensor; the capsule is marked used. Borrows `capsule`.
/// Returns: AB_OK; AB_UNSUPPORTED not a DLPack capsule, used, or another major version.
ab_status abpy_tensor_from_capsule(const ab_services *services, const ab_call *call, PyObject *capsule,
                                   DLManagedTensorVersioned **tensor);

/// A capsule lent to an importing framework: made from a tensor that stays the caller's until it is consumed.
typedef struct abpy_loan {
  PyObject *capsule;  ///< owned
  DLManagedTensorVersioned *tensor;
  DLManagedTensor *old;  ///< NULL for a versioned capsule
  const ab_services *services;
} abpy_loan;

/// Makes the capsule, versioned ("dltensor_versioned") or old ("dltensor").
ab_status abpy_loan_begin(const ab_services *services, const ab_call *call, DLManagedTensorVersioned *tensor,
                          int versioned, abpy_loan *loan);
/// Ends it: drops the capsule, and says in *consumed whether the framework took the tensor. If not, the tensor is again
/// the caller's, untouched, even if somebody still holds the capsule (it is then empty and marked used).
/// May be called with an exception pending, which stays pending.
void abpy_loan_end(abpy_loan *loan, int32_t *consumed);

/// A DLPack capsule that owns `tensor` and deletes it if nobody consumes it. Takes `tensor` on success. New reference.
PyObject *abpy_capsule(DLManagedTensorVersioned *tensor);

#ifdef __cplusplus
}
#endif

#endif /* ARRAYBRIDGE_ABPY_H */
