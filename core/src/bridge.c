/* SPDX-License-Identifier: MIT */
#include "bridge.h"

#include "detect.h"
#include "device/cuda.h"
#include "device/device.h"
#include "device/opencl.h"
#include "memory.h"
#include "registry.h"
#include "release.h"

static void bridge_destroy(ab_bridge *bridge) {
  ab__registry_free(bridge->registry);
  ab__detect_free(bridge->detect);
  ab__release_free(bridge->release);
  ab__deallocate(bridge);
}

static void take_options(ab_bridge *bridge, const ab_bridge_options *options) {
  if (options == NULL) return;
  bridge->flags = options->flags;
  if (AB_HAS_FIELD(options, ab_bridge_options, log_context)) {
    bridge->log = options->log;
    bridge->log_context = options->log_context;
  }
  if (!AB_HAS_FIELD(options, ab_bridge_options, runtime) || options->runtime == NULL) return;
  const uint32_t size = options->runtime->struct_size;
  memcpy(&bridge->runtime, options->runtime, size < sizeof bridge->runtime ? size : sizeof bridge->runtime);
}

ab_status ab_bridge_new(const ab_bridge_options *options, ab_bridge **bridge, ab_error *error) {
  if (bridge == NULL) return ab_error_set(error, AB_INVALID_ARGUMENT, "no place for the bridge");
  ab_bridge *made = ab__allocate_zeroed(sizeof *made);
  if (made == NULL) return ab_error_set(error, AB_OOM, "no memory for a bridge");
  take_options(made, options);
  made->detect = ab__detect_new();
  made->release = ab__release_new(made);
  /* The last: what has a registry takes part in forks, and may not change any more. */
  if (made->detect != NULL && made->release != NULL) made->registry = ab__registry_new(made);
  if (made->registry == NULL) {
    bridge_destroy(made);
    return ab_error_set(error, AB_OOM, "no memory for a bridge");
  }
  *bridge = made;
  return AB_OK;
}

void ab_bridge_free(ab_bridge *bridge) {
  if (bridge == NULL) return;
  if (ab_bridge_backend_count(bridge) == 0) {
    bridge_destroy(bridge);
    return;
  }
  /* Plugins keep `services`, and tensors of theirs may still be alive: what they point to stays. */
  ab_bridge_drain(bridge);
  atomic_store_explicit(&bridge->ended, 1, memory_order_release); /* not ab_bridge_end(): other bridges may go on */
}

void ab_bridge_drain(ab_bridge *bridge) {
  if (!ab__bridge_ending(bridge)) ab__release_drain(bridge->release, AB__DRAIN_DUE);
}

void ab_bridge_settle(ab_bridge *bridge) {
  if (!ab__bridge_ending(bridge)) ab__release_drain(bridge->release, AB__DRAIN_ALL);
}

void ab_bridge_pending(const ab_bridge *bridge, uint64_t *count, uint64_t *bytes) {
  ab__release_pending(bridge->release, count, bytes);
}

void ab_bridge_end(ab_bridge *bridge) {
  atomic_store_explicit(&bridge->ended, 1, memory_order_release);
  ab__opencl_end();
  ab__cuda_end();
}

ab_status ab_bridge_prepare(ab_bridge *bridge, ab_error *error) {
  (void)bridge;
  ab_error local;
  ab_error_init(&local);
  return ab__device_prepare(error != NULL ? error : &local);
}

int ab__bridge_ending(const ab_bridge *bridge) {
  if (atomic_load_explicit(&bridge->ended, memory_order_relaxed)) return 1;
  return bridge->runtime.ending != NULL && bridge->runtime.ending(bridge->runtime.self);
}

int ab__bridge_lock_held(const ab_bridge *bridge) {
  const ab_runtime *runtime = &bridge->runtime;
  if (runtime->lock_enter == NULL) return 1;
  return runtime->lock_held != NULL && runtime->lock_held(runtime->self);
}

void ab__bridge_request_drain(const ab_bridge *bridge) {
  if (bridge->runtime.request_drain != NULL) bridge->runtime.request_drain(bridge->runtime.self);
}
