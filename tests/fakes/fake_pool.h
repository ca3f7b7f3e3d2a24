/* SPDX-License-Identifier: MIT
 * A framework that keeps what was freed: its pool takes memory from a device that several of them share, and gives it
 * back only when it is told to. A test looks `fake_pool_open` up in the open file. */
#ifndef FAKE_POOL_H
#define FAKE_POOL_H

#include "fake_plugin.h"

enum { FAKE_POOL_DEVICES = 2, FAKE_POOL_LOG = 512 };

/* The device: what is free on each of its two parts, and who was asked to clear what, in order. */
typedef struct fake_driver {
  uint64_t free_bytes[FAKE_POOL_DEVICES];
  char log[FAKE_POOL_LOG];
  ab_status cancels; /* what clear_cache() returns in place of its work; AB_OK: it works */
} fake_driver;

/* What a test does with one of them. */
typedef struct fake_pool {
  void (*connect)(fake_driver *driver);
  /* Takes `bytes` on a device; 0, or -1 with the failure that the framework would report. */
  int (*take)(int device, uint64_t bytes, ab_failure *failure);
  /* Frees them: they go to the pool. */
  void (*drop)(int device, uint64_t bytes);
  uint64_t (*cached)(int device);
} fake_pool;

#ifdef FAKE_POOL_NAME

static fake_driver *driver;
static uint64_t in_use[FAKE_POOL_DEVICES], cached[FAKE_POOL_DEVICES];

static void pool_connect(fake_driver *given) { driver = given; }

static int pool_take(int device, uint64_t bytes, ab_failure *failure) {
  const uint64_t from_pool = cached[device] < bytes ? cached[device] : bytes;
  if (bytes - from_pool > driver->free_bytes[device]) {
    *failure = (ab_failure){
        .struct_size = sizeof *failure, .status = AB_FRAMEWORK, .domain = FAKE_POOL_NAME, .code = 7, .text = "full"};
    return -1;
  }
  cached[device] -= from_pool;
  driver->free_bytes[device] -= bytes - from_pool;
  in_use[device] += bytes;
  return 0;
}

static void pool_drop(int device, uint64_t bytes) {
  in_use[device] -= bytes;
  cached[device] += bytes;
}

static uint64_t pool_cached(int device) { return cached[device]; }

static ab_status pool_is_oom(void *self, const ab_failure *failure) {
  (void)self;
  if (failure->domain == NULL || strcmp(failure->domain, FAKE_POOL_NAME) != 0) return AB_OK;
  return failure->code == 7 ? AB_OOM : failure->code == 8 ? AB_TOO_LARGE : AB_OK;
}

static void pool_note(DLDevice device, uint32_t flags) {
  const size_t used = strlen(driver->log);
  const char *what = flags & AB_CLEAR_PINNED ? "pinned" : "cache";
  snprintf(driver->log + used, sizeof driver->log - used, "%s:%s:%d.%d ", FAKE_POOL_NAME, what, (int)device.device_type,
           (int)device.device_id);
}

static ab_status pool_clear_cache(const ab_call *call, DLDevice device, uint32_t flags, uint64_t *to_driver,
                                  uint64_t *to_pool) {
  pool_note(device, flags);
  if (driver->cancels != AB_OK) return ab_fail(call, driver->cancels, "not now");
  *to_driver = *to_pool = 0;
  for (int id = 0; id < FAKE_POOL_DEVICES; id++) {
    if ((int)device.device_type != 0 && (device.device_type != kDLExtDev || device.device_id != id)) continue;
    *to_driver += cached[id];
    driver->free_bytes[id] += cached[id];
    cached[id] = 0;
  }
  return AB_OK;
}

static ab_status pool_devices(const ab_call *call, ab_device_visitor visit, void *context) {
  (void)call;
  for (int32_t id = 0; id < FAKE_POOL_DEVICES; id++) {
    const ab_device_info info = {.struct_size = sizeof info, .device = {kDLExtDev, id}, .name = "pretended"};
    if (visit(context, &info) != 0) break;
  }
  return AB_OK;
}

static ab_status pool_memory_info(const ab_call *call, DLDevice device, ab_memory_info *info) {
  if (device.device_type != kDLExtDev) return ab_fail(call, AB_NO_DEVICE, "no such device");
  const ab_memory_info found = {.struct_size = sizeof found,
                                .in_use = in_use[device.device_id],
                                .cached = cached[device.device_id],
                                .limit = UINT64_MAX,
                                .detail = "a fake has no limit"};
  ab_struct_fill(info, &found, sizeof found);
  return AB_OK;
}

static const ab_plugin_vtable pool_slots = {.struct_size = sizeof pool_slots,
                                            FAKE_REQUIRED_SLOTS,
                                            .is_oom = pool_is_oom,
                                            .clear_cache = pool_clear_cache,
                                            .devices = pool_devices,
                                            .memory_info = pool_memory_info};

static ab_status pool_create(const ab_services *services, ab_plugin *plugin, ab_error *error) {
  const ab_status status = fake_create(services, plugin, error);
  plugin->vtable = &pool_slots;
  return status;
}

extern AB_EXPORT const fake_pool fake_pool_open;
const fake_pool fake_pool_open = {pool_connect, pool_take, pool_drop, pool_cached};

AB_PLUGIN_DEFINE = {FAKE_DESCRIPTOR(FAKE_POOL_NAME), .create = pool_create};

#endif

#endif
