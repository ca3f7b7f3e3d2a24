/* SPDX-License-Identifier: MIT
 * Loads two plugins from a folder and hands samples of one to the other: shared when the memory fits, copied by the
 * core when it does not.
 *
 *     convert PLUGIN_FOLDER
 */
#include <stdio.h>
#include <stdlib.h>

#include <arraybridge/arraybridge.h>

#include "matrix.h"
#include "samples.h"

static int fail(const char *what, const ab_error *error) {
  fprintf(stderr, "%s: %s\n%s\n", what, error->text, error->hint);
  return 1;
}

static int show_trace(void *context, const ab_trace_entry *entry) {
  (void)context;
  printf("%-12s %-8s %s\n", ab_status_name(entry->status), entry->name, entry->reason);
  return 0;
}

static int convert(ab_bridge *bridge, const char *what, samples *source) {
  ab_error error;
  ab_error_init(&error);
  const ab_backend *from = NULL, *to = NULL;
  if (ab_detect(bridge, source, &from, &error) != AB_OK || ab_bridge_backend(bridge, "matrix", &to, &error) != AB_OK)
    return fail(what, &error);
  ab_record record = {.struct_size = sizeof record};
  const ab_convert_options options = {.struct_size = sizeof options, .record = &record};
  const ab_array array = {.backend = from, .object = source};
  ab_array result = {0};
  if (ab_convert(bridge, &array, to, &options, &result, &error) != AB_OK) return fail(what, &error);
  const matrix *m = result.object;
  printf("%s: %lld x %lld, last cell %g, %s, %llu bytes copied\n", what, (long long)m->rows, (long long)m->columns,
         (double)m->cells[m->rows * m->columns - 1], m->cells == source->first ? "shared" : "not shared",
         (unsigned long long)record.bytes_copied);
  for (uint32_t index = 0; index < record.step_count; index++)
    printf("    %s%s%s\n", ab_step_name((ab_step_kind)record.steps[index].kind),
           record.steps[index].refused ? " refused: " : "", record.steps[index].reason);
  ab_array_release(&result);
  ab_error_clear(&error);
  return 0;
}

int main(int count, char **arguments) {
  if (count != 2) return fprintf(stderr, "usage: convert PLUGIN_FOLDER\n"), 2;
  ab_error error;
  ab_error_init(&error);
  ab_bridge *bridge = NULL;
  if (ab_bridge_new(NULL, &bridge, &error) != AB_OK || ab_bridge_add_path(bridge, arguments[1], &error) != AB_OK ||
      ab_bridge_discover(bridge, &error) != AB_OK)
    return fail("arraybridge", &error);
  ab_bridge_trace(bridge, show_trace, NULL);

  float *memory = aligned_alloc(64, 1024 * sizeof(float));
  if (memory == NULL) return 1;
  for (int index = 0; index < 1024; index++) memory[index] = (float)index;
  samples dense = {SAMPLES_MAGIC, 1, memory, 1024, 1};
  samples channel = {SAMPLES_MAGIC, 1, memory + 1, 256, 4};
  int failed = convert(bridge, "dense samples", &dense) | convert(bridge, "every fourth sample", &channel);
  failed |= dense.references != 1 || channel.references != 1;
  ab_bridge_free(bridge);
  free(memory);
  return failed;
}
