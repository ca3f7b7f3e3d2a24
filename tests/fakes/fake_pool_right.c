/* SPDX-License-Identifier: MIT
 * One of two frameworks that keep memory on the same device. */
#define FAKE_POOL_NAME "pool_right"
#include "fake_pool.h"
