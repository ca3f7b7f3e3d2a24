/* SPDX-License-Identifier: MIT
 * From torch: a tensor over the same memory, or a host tensor with the values. */
#include "torch_plugin.h"

/* torch's own managed tensor is not used: its deleter may need the GIL, and it dangles when the user assigns
 * `t.data = other` while the memory is shared (2.13). What we hold is the storage, which outlives both. */
ab_status torch_share(torch_framework *torch, const ab_call *call, torch_sight *sight,
                      DLManagedTensorVersioned **tensor) {
  const ab_services *services = torch->services;
  const DLTensor *from = &sight->tensor;
  DLManagedTensorVersioned *made = NULL;
  const ab_status status =
      services->tensor_new(services->core, from->ndim, AB_TENSOR_DROP_NEEDS_LOCK, sight->storage, abpy_drop, &made);
  if (status != AB_OK) return ab_fail(call, status, "no memory for a tensor of %d dimensions", (int)from->ndim);
  sight->storage = NULL;
  DLTensor *to = &made->dl_tensor;
  to->data = from->data;
  to->byte_offset = from->byte_offset;
  to->device = from->device;
  to->dtype = from->dtype;
  for (int32_t axis = 0; axis < from->ndim; axis++) {
    to->shape[axis] = from->shape[axis];
    to->strides[axis] = from->strides[axis];
  }
  call->report->flags |= AB_REPORT_SHARED;
  if (sight->info & AB_INFO_GRADIENT) call->report->flags |= AB_REPORT_GRADIENT_DETACHED;
  *tensor = made;
  return AB_OK;
}

static uint32_t wanted(const ab_call *call) {
  return TORCH_WITH_STORAGE | (call->flags & AB_CALL_WANT_REPORT ? TORCH_WITH_GRADIENT : 0);
}

ab_status torch_to_dlpack(const ab_call *call, void *array, DLManagedTensorVersioned **tensor) {
  torch_framework *torch = call->self;
  if (!AB_CALL_UNDERSTOOD(call, AB_CALL_NEVER_COPY)) return ab_fail(call, AB_UNSUPPORTED, "unknown flags");
  torch_sight sight;
  ab_status status = torch_look(torch, call, array, wanted(call), &sight);
  if (status != AB_OK) return status;
  const char *why_not = torch_unshareable(torch, &sight);
  if (why_not != NULL) {
    status = ab_fail(call, AB_UNSUPPORTED, "%s", why_not);
  } else {
    // Shared first: ordering runs Python code, which may move what the sight points at.
    const DLDevice device = sight.tensor.device;
    DLManagedTensorVersioned *shared = NULL;
    status = torch_share(torch, call, &sight, &shared);
    if (status == AB_OK && device.device_type != kDLCPU && !(call->flags & AB_CALL_ORDERED))
      status = torch_order_before(torch, call, device, call->stream);
    if (status == AB_OK) *tensor = shared;
    else if (shared != NULL) shared->deleter(shared);
  }
  torch_sight_end(&sight);
  return status;
}

/* ------------------------------------------------------------------ to the host */

/// Replaces the reference `*tensor` by tensor.NAME().
static ab_status replace(const ab_call *call, PyObject **tensor, const char *name) {
  PyObject *next = abpy_method(*tensor, name);
  if (next == NULL) return torch_failed(call, name);
  Py_DECREF(*tensor);
  *tensor = next;
  return AB_OK;
}

/// Gives an exact tensor on the host whose bytes are its values. `sight` is of the source.
static ab_status bring(const torch_framework *torch, const ab_call *call, const torch_sight *sight, PyObject **result) {
  (void)torch;
  PyObject *tensor = sight->plain;
  Py_INCREF(tensor);
  const uint64_t bytes = abpy_tensor_bytes(&sight->tensor);
  const uint32_t info = sight->info;
  ab_status status = replace(call, &tensor, "detach");
  if (status == AB_OK && sight->tensor.device.device_type != kDLCPU) {
    status = replace(call, &tensor, "cpu");
    call->report->flags |= AB_REPORT_BLOCKED_HOST;
    call->report->bytes_copied += bytes;
  }
  if (status == AB_OK && (info & AB_INFO_CONJUGATED)) {
    status = replace(call, &tensor, "resolve_conj");
    call->report->flags |= AB_REPORT_CONJ_RESOLVED;
    call->report->bytes_copied += bytes;
  }
  if (status == AB_OK && (info & AB_INFO_NEGATED)) {
    status = replace(call, &tensor, "resolve_neg");
    call->report->flags |= AB_REPORT_NEG_RESOLVED;
    call->report->bytes_copied += bytes;
  }
  if (status == AB_OK) *result = tensor;
  else Py_DECREF(tensor);
  return status;
}

static ab_status share_copy(torch_framework *torch, const ab_call *call, PyObject *copy,
                            DLManagedTensorVersioned **tensor) {
  torch_sight sight;
  ab_status status = torch_look(torch, call, copy, TORCH_WITH_STORAGE, &sight);
  if (status != AB_OK) return status;
  const char *why_not = torch_unshareable(torch, &sight);
  status = why_not == NULL ? torch_share(torch, call, &sight, tensor) : ab_fail(call, AB_UNSUPPORTED, "%s", why_not);
  torch_sight_end(&sight);
  if (status != AB_OK) return status;
  call->report->flags = (call->report->flags & ~(uint32_t)AB_REPORT_SHARED) | AB_REPORT_COPIED;
  return AB_OK;
}

ab_status torch_to_host(const ab_call *call, void *array, DLManagedTensorVersioned **tensor) {
  torch_framework *torch = call->self;
  if (!AB_CALL_UNDERSTOOD(call, AB_CALL_NEVER_COPY)) return ab_fail(call, AB_UNSUPPORTED, "unknown flags");
  torch_sight sight;
  ab_status status = torch_look(torch, call, array, wanted(call), &sight);
  if (status != AB_OK) return status;
  const int on_host = sight.tensor.device.device_type == kDLCPU;
  const int lazy = (sight.info & (AB_INFO_CONJUGATED | AB_INFO_NEGATED)) != 0;
  PyObject *copy = NULL;
  if (sight.why_not != NULL) {
    status = ab_fail(call, AB_UNSUPPORTED, "%s", sight.why_not);
  } else if (on_host && !lazy) {
    status = torch_share(torch, call, &sight, tensor);
  } else if (call->flags & AB_CALL_NEVER_COPY) {
    status = ab_fail(call, AB_WOULD_COPY, "%s", lazy ? torch_unshareable(torch, &sight) : "it is on a device");
  } else {
    if (sight.info & AB_INFO_GRADIENT) call->report->flags |= AB_REPORT_GRADIENT_DETACHED;
    status = bring(torch, call, &sight, &copy);
  }
  torch_sight_end(&sight);
  if (copy == NULL) return status;
  status = share_copy(torch, call, copy, tensor);
  Py_DECREF(copy);
  return status;
}
