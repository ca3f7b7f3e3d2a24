/* SPDX-License-Identifier: MIT
 * Who owns an object's type: a cache of types in front of the plugins' recognizes(). */
#ifndef AB__DETECT_H
#define AB__DETECT_H

#include "bridge.h"

ab__detect *ab__detect_new(void);
void ab__detect_free(ab__detect *detect);
/// The backend that is remembered for the type, or NULL. Needs no lock.
const ab_backend *ab__detect_type(const ab_bridge *bridge, const void *type);
/// The same for the type of an object.
const ab_backend *ab__detect_known(const ab_bridge *bridge, void *object);
/// Finds the backend that owns `object`; NULL if none does. Needs the runtime's lock. Returns: AB_OK; AB_INTERNAL,
/// AB_CANCELLED what recognizes() left behind.
ab_status ab__detect_backend(ab_bridge *bridge, void *object, const ab_backend **backend, ab_error *error);

#endif
