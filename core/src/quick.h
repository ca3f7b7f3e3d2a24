/* SPDX-License-Identifier: MIT */
#ifndef AB__QUICK_H
#define AB__QUICK_H

#include "conversion.h"

/// Hands over what the source has just described by a tensor (c->info, not yet checked), if that is as simple as can
/// be. Returns 1: `*status` is the conversion's, with `*object` given if it is AB_OK. 0: the long way has to look;
/// c->info.tensor is NULL if the target consumed it.
int ab__quick_exchange(ab__conversion *c, ab_status *status, void **object);

#endif
