/* SPDX-License-Identifier: MIT
 * The registry: where plugins are looked for, which may be trusted, which were loaded, and why the others were not. */
#ifndef AB__REGISTRY_H
#define AB__REGISTRY_H

#include "bridge.h"

/// Makes an empty registry for `bridge`. NULL: no memory.
ab__registry *ab__registry_new(ab_bridge *bridge);
/// Frees the registry; backends and their plugins stay in memory (a tensor may still call them).
void ab__registry_free(ab__registry *registry);

/// Fills the services that `backend` hands to its plugin (services.c).
void ab__services_init(ab_backend *backend);

#endif
