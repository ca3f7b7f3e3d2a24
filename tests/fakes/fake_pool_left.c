/* SPDX-License-Identifier: MIT
 * One of two frameworks that keep memory on the same device. */
#define FAKE_POOL_NAME "pool_left"
#include "fake_pool.h"
