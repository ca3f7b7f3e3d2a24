/* SPDX-License-Identifier: MIT
 * DLPack capsules of both kinds, taken and given. */
#include "abpy.h"

static const char versioned_name[] = "dltensor_versioned";
static const char versioned_used_name[] = "used_dltensor_versioned";
static const char old_name[] = "dltensor";
static const char old_used_name[] = "used_dltensor";

/* ------------------------------------------------------------------ capsules that frameworks give */

static ab_status take_versioned(const ab_call *call, PyObject *capsule, DLManagedTensorVersioned **tensor) {
  DLManagedTensorVersioned *given = PyCapsule_GetPointer(capsule, versioned_name);
  if (given == NULL) return abpy_error(call, AB_UNSUPPORTED, "DLPack capsule");
  if (given->version.major != DLPACK_MAJOR_VERSION) {
    return ab_fail(call, AB_UNSUPPORTED, "DLPack capsule of version %u.%u; version %d is understood",
                   (unsigned)given->version.major, (unsigned)given->version.minor, DLPACK_MAJOR_VERSION);
  }
  if (PyCapsule_SetName(capsule, versioned_used_name) != 0) return abpy_error(call, AB_UNSUPPORTED, "DLPack capsule");
  *tensor = given;
  return AB_OK;
}

static ab_status take_old(const ab_services *services, const ab_call *call, PyObject *capsule,
                          DLManagedTensorVersioned **tensor) {
  DLManagedTensor *given = PyCapsule_GetPointer(capsule, old_name);
  if (given == NULL) return abpy_error(call, AB_UNSUPPORTED, "DLPack capsule");
  DLManagedTensorVersioned *upgraded = NULL;
  const ab_status status = services->tensor_upgrade(services->core, given, &upgraded);
  if (status != AB_OK) return ab_fail(call, status, "a DLPack capsule without a version cannot be translated");
  // A valid capsule always takes a name: from here on the tensor is ours.
  if (PyCapsule_SetName(capsule, old_used_name) != 0) PyErr_Clear();
  *tensor = upgraded;
  return AB_OK;
}

ab_status abpy_tensor_from_capsule(const ab_services *services, const ab_call *call, PyObject *capsule,
                                   DLManagedTensorVersioned **tensor) {
  if (PyCapsule_IsValid(capsule, versioned_name)) return take_versioned(call, capsule, tensor);
  if (PyCapsule_IsValid(capsule, old_name)) return take_old(services, call, capsule, tensor);
  return ab_fail(call, AB_UNSUPPORTED, "not a DLPack capsule, or one that was used before");
}

/* ------------------------------------------------------------------ capsules lent to frameworks */

ab_status abpy_loan_begin(const ab_services *services, const ab_call *call, DLManagedTensorVersioned *tensor,
                          int versioned, abpy_loan *loan) {
  DLManagedTensor *old = NULL;
  if (!versioned) {
    const ab_status status = services->tensor_downgrade(services->core, tensor, &old);
    if (status != AB_OK) return ab_fail(call, status, "the tensor cannot be given as a capsule without a version");
  }
  // No destructor: until it is consumed the tensor stays the caller's.
  PyObject *capsule = versioned ? PyCapsule_New(tensor, versioned_name, NULL) : PyCapsule_New(old, old_name, NULL);
  if (capsule == NULL) {
    if (old != NULL) services->tensor_downgrade_undo(services->core, old);
    return abpy_error(call, AB_OOM, "DLPack capsule");
  }
  *loan = (abpy_loan){.capsule = capsule, .tensor = tensor, .old = old, .services = services};
  return AB_OK;
}

void abpy_loan_end(abpy_loan *loan, int32_t *consumed) {
  const int lent = PyCapsule_IsValid(loan->capsule, loan->old != NULL ? old_name : versioned_name);
  *consumed = !lent;
  if (lent) {
    // Somebody may still hold the capsule (a traceback does): dead by name, and without a destructor that would delete.
    // Both calls succeed on a valid capsule, so that a pending exception stays as it is.
    PyCapsule_SetName(loan->capsule, loan->old != NULL ? old_used_name : versioned_used_name);
    PyCapsule_SetDestructor(loan->capsule, NULL);
    if (loan->old != NULL) loan->services->tensor_downgrade_undo(loan->services->core, loan->old);
  }
  Py_DECREF(loan->capsule);
  memset(loan, 0, sizeof *loan);
}

/* ------------------------------------------------------------------ capsules that own */

static void delete_unused(PyObject *capsule) {
  if (!PyCapsule_IsValid(capsule, versioned_name)) return;
  DLManagedTensorVersioned *tensor = PyCapsule_GetPointer(capsule, versioned_name);
  if (tensor->deleter != NULL) tensor->deleter(tensor);
}

PyObject *abpy_capsule(DLManagedTensorVersioned *tensor) {
  PyObject *capsule = PyCapsule_New(tensor, versioned_name, delete_unused);
  if (capsule == NULL) PyErr_Clear();
  return capsule;
}
