/* SPDX-License-Identifier: MIT
 * What every executable of these tests shares: main() runs the suite of the one test file that is linked with it. */
#ifndef CHECK_MAIN_H
#define CHECK_MAIN_H

#include <check.h>

/// Gives the tests of the file. NULL: they cannot run here, and "SKIP: REASON" was printed.
Suite *unit_suite(void);

/// Adds an empty case to `suite`; `setup` and `teardown` run around each of its tests, NULL is none.
TCase *unit_case(Suite *suite, const char *name, SFun setup, SFun teardown);

#endif
