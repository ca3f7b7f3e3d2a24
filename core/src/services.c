/* SPDX-License-Identifier: MIT
 * What the core offers each plugin. `core` is the backend. */
#include "bridge.h"
#include "device/device.h"
#include "memory.h"
#include "registry.h"
#include "release.h"
#include "tensor.h"

static ab_bridge *bridge_of(void *core) { return ((ab_backend *)core)->bridge; }

static void service_log(void *core, int32_t level, const char *text) {
  const ab_bridge *bridge = bridge_of(core);
  if (bridge->log != NULL) bridge->log(bridge->log_context, level, text);
}

static void *service_allocate(void *core, uint64_t bytes) {
  (void)core;
  return ab__allocate_aligned((size_t)bytes);
}

static void service_deallocate(void *core, void *memory) {
  (void)core;
  ab__deallocate(memory);
}

static ab_status service_tensor_new(void *core, int32_t ndim, uint32_t flags, void *owner, void (*drop)(void *owner),
                                    DLManagedTensorVersioned **tensor) {
  return ab__tensor_new(bridge_of(core), ndim, flags, owner, drop, tensor);
}

static ab_status service_tensor_guard(void *core, DLManagedTensorVersioned *inner, uint32_t flags,
                                      DLManagedTensorVersioned **outer) {
  return ab__tensor_guard(bridge_of(core), inner, flags, outer);
}

static ab_status service_tensor_upgrade(void *core, DLManagedTensor *old, DLManagedTensorVersioned **tensor) {
  (void)core;
  return ab__tensor_upgrade(old, tensor);
}

static ab_status service_tensor_downgrade(void *core, DLManagedTensorVersioned *tensor, DLManagedTensor **old) {
  (void)core;
  return ab__tensor_downgrade(tensor, old);
}

static DLManagedTensorVersioned *service_tensor_downgrade_undo(void *core, DLManagedTensor *old) {
  (void)core;
  return ab__tensor_downgrade_undo(old);
}

static int32_t service_runtime_ending(void *core) { return ab__bridge_ending(bridge_of(core)); }

static int32_t service_lock_held(void *core) { return ab__bridge_lock_held(bridge_of(core)); }

static void service_defer_release(void *core, void (*release)(void *data), void *data, const ab_stream *streams,
                                  uint32_t stream_count, uint64_t bytes) {
  const ab_bridge *bridge = bridge_of(core);
  if (ab__bridge_ending(bridge)) return;
  if (ab__release_push(bridge->release, release, data, streams, stream_count, bytes)) ab__bridge_request_drain(bridge);
}

static void service_drain(void *core) { ab_bridge_drain(bridge_of(core)); }

static void *service_lock_enter(void *core) {
  const ab_runtime *runtime = &bridge_of(core)->runtime;
  if (ab__bridge_ending(bridge_of(core))) return NULL;
  return runtime->lock_enter != NULL ? runtime->lock_enter(runtime->self) : core; /* without a runtime: a dummy */
}

static void service_lock_leave(void *core, void *token) {
  const ab_runtime *runtime = &bridge_of(core)->runtime;
  if (runtime->lock_leave != NULL && token != NULL) runtime->lock_leave(runtime->self, token);
}

static void *service_blocking_begin(void *core) {
  const ab_runtime *runtime = &bridge_of(core)->runtime;
  return runtime->blocking_begin != NULL ? runtime->blocking_begin(runtime->self) : NULL;
}

static void service_blocking_end(void *core, void *token) {
  const ab_runtime *runtime = &bridge_of(core)->runtime;
  if (runtime->blocking_end != NULL && token != NULL) runtime->blocking_end(runtime->self, token);
}

static void *service_type_key(void *core, void *object) {
  const ab_runtime *runtime = &bridge_of(core)->runtime;
  return runtime->type_key != NULL ? runtime->type_key(runtime->self, object) : NULL;
}

static const ab_device_ops *service_device_ops(void *core, int32_t device_type) {
  (void)core;
  return ab__device_ops((DLDeviceType)device_type);
}

static const char *service_dtype_name(void *core, DLDataType dtype) {
  (void)core;
  return ab_dtype_name(dtype);
}

void ab__services_init(ab_backend *backend) {
  backend->services = (ab_services){
      .struct_size = (uint32_t)sizeof(ab_services),
      .abi_major = AB_ABI_MAJOR,
      .abi_minor = AB_ABI_MINOR,
      .core = backend,
      .plugin_path = backend->path,
      .log = service_log,
      .allocate = service_allocate,
      .deallocate = service_deallocate,
      .tensor_new = service_tensor_new,
      .tensor_guard = service_tensor_guard,
      .tensor_upgrade = service_tensor_upgrade,
      .tensor_downgrade = service_tensor_downgrade,
      .tensor_downgrade_undo = service_tensor_downgrade_undo,
      .defer_release = service_defer_release,
      .drain = service_drain,
      .lock_enter = service_lock_enter,
      .lock_leave = service_lock_leave,
      .lock_held = service_lock_held,
      .blocking_begin = service_blocking_begin,
      .blocking_end = service_blocking_end,
      .type_key = service_type_key,
      .runtime_ending = service_runtime_ending,
      .device_ops = service_device_ops,
      .dtype_name = service_dtype_name,
  };
}
