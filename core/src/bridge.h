/* SPDX-License-Identifier: MIT
 * What a bridge and a backend are made of. Internal: no file outside core/src includes it. */
#ifndef AB__BRIDGE_H
#define AB__BRIDGE_H

#include <pthread.h>
#include <stdatomic.h>

#include <arraybridge/arraybridge.h>
#include <arraybridge/plugin.h>

typedef struct ab__registry ab__registry; /* registry.h */
typedef struct ab__detect ab__detect;     /* detect.h */
typedef struct ab__release ab__release;   /* release.h */

/* Locks of the core are each held alone and never across a plugin call, a driver call or the runtime's lock. fork.h
 * lists them. */
struct ab_bridge {
  ab_runtime runtime; /* copied; all zero without a language */
  ab_log_function log;
  void *log_context;
  uint32_t flags;
  atomic_int ended;
  ab__registry *registry;
  ab__detect *detect;
  ab__release *release;
};

/// 1 after the language runtime has begun to end.
int ab__bridge_ending(const ab_bridge *bridge);
/// 1 if this thread has the runtime's lock; with no runtime there is no lock, and everybody has it.
int ab__bridge_lock_held(const ab_bridge *bridge);
/// Asks the runtime to drain soon.
void ab__bridge_request_drain(const ab_bridge *bridge);

/* One device's capabilities, asked once. `dtypes` is a set of ab__dtype_index bits. */
typedef struct ab__ability {
  struct ab__ability *next;
  DLDevice device;
  uint32_t slot;
  int supported;
  uint64_t dtypes;
  char why_not[192]; /* what the plugin said of a slot that takes nothing; may be empty */
  ab_capabilities stated;
} ab__ability;

struct ab_backend {
  const ab_plugin_descriptor *descriptor;
  const ab_plugin_vtable *vtable; /* a full-size copy: slots the plugin does not know are NULL */
  void *self;
  ab_bridge *bridge;
  char *path;
  ab_services services;
  ab_plugin_vtable slots;           /* what `vtable` points to */
  atomic_int started;               /* 1 after start() has succeeded */
  _Atomic(ab__ability *) abilities; /* a list that only grows: readers take no lock */
  pthread_mutex_t ability_lock;     /* writers of it */
};

#endif
