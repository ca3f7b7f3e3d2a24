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
/// Returns `status`, except: KeyboardInterrupt, SystemExit and GeneratorExit give AB_CANCELLED; MemoryError AB_OOM.
/// With no exception pending: `status` with WHAT alone.
ab_status abpy_error(const ab_call *call, ab_status status, const char *what);

/// The same for create() and others that have no call.
ab_status abpy_error_to(ab_error *error, ab_status status, const char *what);

/// 1 if `exception` is an instance of exactly `module`.`name` (no subclass), without importing the module.
int abpy_exception_is(PyObject *exception, const char *module, const char *name);

/// One out-of-memory signature: an exact exception type, and how str(exception) must begin or what it must contain.
typedef struct abpy_signature {
  const char *module;  ///< __module__ of the exact type; NULL: any
  const char *type;    ///< __qualname__ of the exact type
  const char *anchor;  ///< NULL: the type alone is enough; else the text that must be there
  int anywhere;        ///< 0: the text begins with `anchor`; 1: a line of it contains `anchor`
  ab_status verdict;   ///< AB_OOM or AB_TOO_LARGE
} abpy_signature;

/// Looks `failure` up in `count` signatures; AB_OK if none fits. Never fails.
ab_status abpy_match_failure(const ab_failure *failure, const abpy_signature *signatures, size_t count);

/* ------------------------------------------------------------------ modules and types */

/// The module if the process has imported it, else NULL. Borrowed (sys.modules keeps it). Imports nothing.
PyObject *abpy_imported(const char *module);

/// Imports `module`. Gives a new reference; NULL: AB_UNAVAILABLE with the reason and the `pip install HINT` hint is in
/// call->error. KeyboardInterrupt while importing is AB_CANCELLED (look at call->error->status).
PyObject *abpy_import(const ab_call *call, const char *module, const char *pip_name);

/// Attribute by dotted path ("experimental.dlpack"). New reference; NULL with the exception cleared.
PyObject *abpy_attribute(PyObject *object, const char *dotted);

/// The type `name` (dotted) of `module` if that is imported. New reference, or NULL. Imports nothing.
PyTypeObject *abpy_type(const char *module, const char *name);

/// os.environ.setdefault(name, value).
void abpy_default_environment(const char *name, const char *value);

/// Fills `info` for a framework without importing it: `module` is what is imported, `distribution` what pip calls it.
/// Several names of distributions stand with a blank between them ("cupy-cuda13x cupy-cuda12x cupy"), the first one is
/// recommended to who has none. Always AB_OK.
ab_status abpy_probe(const ab_call *call, ab_framework_info *info, const char *module, const char *distribution);

/// callable(argument), 15 ns quicker than PyObject_CallFunctionObjArgs where Python allows it. New reference; NULL with
/// the exception pending.
PyObject *abpy_call_one(PyObject *callable, PyObject *argument);

/* ------------------------------------------------------------------ references */

/// Py_DECREF as a `drop` function for tensor_new(…, AB_TENSOR_DROP_NEEDS_LOCK, …).
void abpy_drop(void *object);
/// Slots retain and release of every Python plugin.
void abpy_retain(void *self, void *array);
void abpy_release(void *self, void *array);

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
