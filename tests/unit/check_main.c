/* SPDX-License-Identifier: MIT */
#include "check_main.h"

#include <stdlib.h>

enum { SKIPPED = 77 };

TCase *unit_case(Suite *suite, const char *name, SFun setup, SFun teardown) {
  TCase *const tests = tcase_create(name);
  if (setup != NULL || teardown != NULL) tcase_add_checked_fixture(tests, setup, teardown);
  suite_add_tcase(suite, tests);
  return tests;
}

int main(void) {
  Suite *const suite = unit_suite();
  if (suite == NULL) return SKIPPED;
  SRunner *const runner = srunner_create(suite);
  srunner_run_all(runner, CK_ENV);
  const int failed = srunner_ntests_failed(runner);
  srunner_free(runner);
  return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
