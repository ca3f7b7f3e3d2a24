/* SPDX-License-Identifier: MIT
 * A shared library like any other. */
#include <arraybridge/types.h>

extern AB_EXPORT int fake_answer(void);
int fake_answer(void) { return 42; }
