/* SPDX-License-Identifier: MIT
 * Finding whose an object is. */
#include "detect.h"
#include "toy_language.h"

static const ab_plugin_descriptor python_descriptor = {.struct_size = sizeof python_descriptor,
                                                       .name = "fake_good",
                                                       .version = "1",
                                                       .licence = "MIT",
                                                       .runtime = AB_RUNTIME_PYTHON,
                                                       .lock = AB_LOCK_PYTHON,
                                                       .runtime_abi = "test"};
static ab_backend *fake;
static int asked, says, holds;

static int32_t recognizes(void *self, void *object, int32_t *holds_for_type) {
  (void)self;
  (void)object;
  asked++;
  ck_assert_int_eq(*holds_for_type, 0);
  *holds_for_type = holds;
  return says;
}

/* A loaded plugin that now pretends to be of the test's language. */
static ab_backend *load(const char *name) {
  const char *folder = getenv("AB_FAKES");
  ck_assert_msg(folder != NULL, "AB_FAKES must name the folder of fake plugins");
  char path[4096];
  snprintf(path, sizeof path, "%s/%s.so", folder, name);
  bridge->flags |= AB_BRIDGE_TRUST_WRITABLE;
  ck_assert_int_eq(ab_bridge_add_path(bridge, path, NULL), AB_OK);
  ck_assert_int_eq(ab_bridge_discover(bridge, NULL), AB_OK);
  const ab_backend *found = NULL;
  ck_assert_msg(ab_bridge_backend(bridge, name, &found, &error) == AB_OK, "%s", error.text);
  ((ab_backend *)found)->descriptor = &python_descriptor;
  ((ab_backend *)found)->slots.recognizes = recognizes;
  return (ab_backend *)found;
}

static void load_fake(void) {
  fake = load("fake_good");
  asked = 0;
  says = holds = 1;
}

static const ab_backend *detect(type *of) {
  thing object = {of};
  const ab_backend *found = NULL;
  const ab_status status = ab_detect(bridge, &object, &found, NULL);
  ck_assert(status == AB_OK || (status == AB_NOT_RECOGNIZED && found == NULL));
  return found;
}

START_TEST(a_type_is_asked_about_once_and_kept_alive) {
  load_fake();
  type one = {0}, two = {0};
  for (int round = 0; round < 3; round++) ck_assert_ptr_eq(detect(&one), fake);
  ck_assert_int_eq(asked, 1);
  ck_assert_int_eq(one.references, 1); /* or its address would be reused for another */
  says = 0;
  for (int round = 0; round < 3; round++) ck_assert_ptr_null(detect(&two));
  ck_assert_int_eq(asked, 4); /* a "no" is not remembered: another plugin may come */
  ck_assert_int_eq(two.references, 0);
  ck_assert_ptr_eq(detect(&one), fake);
}
END_TEST

START_TEST(an_answer_for_one_object_is_not_remembered) {
  load_fake();
  type one = {0};
  holds = 0;
  for (int round = 0; round < 3; round++) ck_assert_ptr_eq(detect(&one), fake);
  ck_assert_int_eq(asked, 3);
  ck_assert_int_eq(one.references, 0);
  says = 0;
  ck_assert_ptr_null(detect(&one));
}
END_TEST

static int32_t denies_for_the_type(void *self, void *object, int32_t *holds_for_type) {
  (void)self;
  (void)object;
  *holds_for_type = 1;
  return 0;
}

START_TEST(the_denial_of_one_plugin_does_not_hold_for_the_next) {
  load_fake();
  ab_backend *second = load("fake_longer_vtable");
  fake->slots.recognizes = denies_for_the_type;
  type one = {0};
  holds = 0;
  for (int round = 0; round < 2; round++) ck_assert_ptr_eq(detect(&one), second);
  ck_assert_int_eq(asked, 2);
  ck_assert_int_eq(one.references, 0);
}
END_TEST

START_TEST(a_full_cache_still_answers_right) {
  enum { TYPES = 2000 };
  load_fake();
  type *types = calloc(TYPES, sizeof(type) * 4);
  for (int round = 0; round < 2; round++)
    for (int index = 0; index < TYPES; index++) ck_assert_ptr_eq(detect(&types[4 * index]), fake);
  int kept = 0;
  for (int index = 0; index < TYPES; index++) {
    const int references = types[4 * index].references;
    ck_assert(references == 0 || references == 1);
    kept += references;
  }
  ck_assert_int_gt(kept, 128);
  ck_assert_int_le(kept, 256);
  ck_assert_int_eq(asked, TYPES + (TYPES - kept));
  free(types);
}
END_TEST

START_TEST(a_plugin_of_another_language_is_not_asked) {
  load_fake();
  type one = {0};
  ab_plugin_descriptor plain = python_descriptor;
  plain.runtime = AB_RUNTIME_NONE; /* it would take the object for a struct of its own */
  fake->descriptor = &plain;
  ck_assert_ptr_null(detect(&one));
  ck_assert_int_eq(asked, 0);
  fake->descriptor = &python_descriptor;
}
END_TEST

static void *detect_many(void *types) {
  for (int round = 0; round < 200; round++)
    for (int index = 0; index < 32; index++) {
      thing object = {(type *)types + index};
      const ab_backend *found = NULL;
      if (ab_detect(bridge, &object, &found, NULL) != AB_OK || found != fake) return types;
    }
  return NULL;
}

START_TEST(threads_detect_at_once) {
  load_fake();
  static type types[32];
  pthread_t threads[THREADS];
  for (int index = 0; index < THREADS; index++) pthread_create(&threads[index], NULL, detect_many, types);
  for (int index = 0; index < THREADS; index++) {
    void *failed = NULL;
    pthread_join(threads[index], &failed);
    ck_assert_ptr_null(failed);
  }
  for (int index = 0; index < 32; index++) ck_assert_int_le(types[index].references, 1);
}
END_TEST

Suite *unit_suite(void) {
  Suite *const suite = suite_create("detect");
  TCase *const tests = unit_case(suite, "detect", setup, teardown);
  tcase_add_test(tests, a_type_is_asked_about_once_and_kept_alive);
  tcase_add_test(tests, an_answer_for_one_object_is_not_remembered);
  tcase_add_test(tests, the_denial_of_one_plugin_does_not_hold_for_the_next);
  tcase_add_test(tests, a_full_cache_still_answers_right);
  tcase_add_test(tests, a_plugin_of_another_language_is_not_asked);
  tcase_add_test(tests, threads_detect_at_once);
  return suite;
}
