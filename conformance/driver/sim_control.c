/* SPDX-License-Identifier: MIT
 * Starting anew, and what is left over. */
#include <stdarg.h>
#include <stdio.h>

#include "sim.h"

static void reseed(uint64_t seed) {
  sim__schedule_reseed(seed);
  sim__call_reseed();
  sim__fault_reset();
}

SIM_API void sim_reset(uint64_t seed, int devices, uint64_t bytes_per_device) {
  sim__lock_reset();
  const int inside = sim__lock();
  sim__capture_reset();
  sim__stream_reset();
  sim__event_reset(0);
  sim__memory_reset();
  sim__context_reset();
  sim__device_reset(devices, bytes_per_device);
  sim__call_reset();
  sim__schedule_reset();
  reseed(seed);
  sim__unlock(inside);
}

SIM_API void sim_reseed(uint64_t seed) {
  const int inside = sim__lock();
  reseed(seed);
  sim__unlock(inside);
}

/* ------------------------------------------------------------------ what is left over */

/// A text that grows as far as there is room, and how many things it tells of.
typedef struct leak_list {
  char *text;
  size_t size, used;
  int count;
} leak_list;

static void SIM_PRINTF(3, 4) add(leak_list *list, int count, const char *format, ...) {
  if (count == 0) return;
  list->count += count;
  if (list->used + 1 >= list->size) return;
  va_list arguments;
  va_start(arguments, format);
  const int wrote = vsnprintf(list->text + list->used, list->size - list->used, format, arguments);
  va_end(arguments);
  if (wrote > 0) list->used += (size_t)wrote;
}

static void add_blocks(leak_list *list) {
  char name[96];
  for (const sim_block *block = sim__blocks; block != NULL; block = block->next)
    add(list, 1, "%s\n", sim__block_name(block, name));
}

static void add_streams(leak_list *list) {
  char name[48];
  for (const sim_stream *stream = sim__streams; stream != NULL; stream = stream->next)
    add(list, stream->kind == SIM_CREATED && stream->handle != NULL, "%s\n", sim__stream_name(stream, name));
}

static void add_contexts(leak_list *list) {
  for (const sim_context *context = sim__contexts; context != NULL; context = context->next)
    add(list, !context->primary, "a context of its own on device %d\n", context->device);
  for (int i = 0; i < sim__device_count(); ++i)
    add(list, sim__device(i)->retained, "the primary context of device %d, retained %d times\n", i,
        sim__device(i)->retained);
}

static int count_captures(void) {
  int count = 0;
  for (const sim_capture *capture = sim__captures; capture != NULL; capture = capture->next) ++count;
  return count;
}

SIM_API int sim_leaks(char *text, size_t size) {
  const int inside = sim__lock();
  leak_list list = {text, text == NULL ? 0 : size, 0, 0};
  if (list.size > 0) text[0] = '\0';
  add_blocks(&list);
  add_streams(&list);
  add(&list, sim__event_count(), "%d events\n", sim__event_count());
  add_contexts(&list);
  add(&list, sim__pushed, "%d contexts pushed and not popped\n", sim__pushed);
  add(&list, count_captures(), "%d captures\n", count_captures());
  sim__unlock(inside);
  return list.count;
}

SIM_API int sim_check(void) { return sim_faults() == 0 && sim_idle(); }
