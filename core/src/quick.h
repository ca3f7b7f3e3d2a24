/* SPDX-License-Identifier: MIT */
#ifndef AB__QUICK_H
#define AB__QUICK_H

#include "conversion.h"

/// Hands over what the source has just described by a tensor (c->info, not yet checked), if that is as simple as can
/// be. Returns 1 and gives `*object`; 0: nothing was done, except that c->info.tensor is NULL if the target consumed
/// it.
int ab__quick_exchange(ab__conversion *c, void **object);

#endif
