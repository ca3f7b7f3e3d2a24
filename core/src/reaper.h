/* SPDX-License-Identifier: MIT
 * The reaper: what devices still worked on when the program last called goes back although it does not call again. */
#ifndef AB__REAPER_H
#define AB__REAPER_H

#include "bridge.h"

/// Has a thread ask for drains until nothing of `queue` waits any more. Starts it if it does not run; a thread that
/// cannot be started is one the less, and the next call drains. The thread calls no driver and takes no lock.
/// Without a runtime it drains by itself.
void ab__reaper_watch(const ab_bridge *bridge, ab__release *queue, atomic_int *running);

#endif
