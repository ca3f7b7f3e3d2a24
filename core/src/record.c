/* SPDX-License-Identifier: MIT */
#include "record.h"

#include <time.h>

const char *ab_step_name(ab_step_kind kind) {
  static const char *const names[] = {"same", "exchange", "wrap", "map", "pivot", "to_host", "from_host"};
  return (unsigned)kind < sizeof names / sizeof *names ? names[kind] : "unknown";
}

void ab__record_begin(ab_record *record) {
  if (record == NULL) return;
  const uint32_t size = record->struct_size;
  memset((char *)record + sizeof size, 0, sizeof *record - sizeof size);
  record->step_size = (uint32_t)sizeof(ab_step);
}

static ab_step *next_step(ab_record *record) {
  return record->step_count < AB_MAX_STEPS ? &record->steps[record->step_count++] : NULL;
}

void ab__record_refused(ab_record *record, uint32_t kind, const char *reason) {
  if (record == NULL) return;
  for (uint32_t index = 0; index < record->step_count; index++)
    if (record->steps[index].kind == kind && strcmp(record->steps[index].reason, reason) == 0) return;
  if (record->step_count + 4 > AB_MAX_STEPS) return; /* room for the steps of the way that is taken */
  ab_step *step = next_step(record);
  *step = (ab_step){.kind = kind, .refused = 1}; /* a step that was rewound may have stood here */
  snprintf(step->reason, sizeof step->reason, "%.*s", AB_STEP_REASON - 1, reason);
}

void ab__record_step(ab_record *record, ab_step_kind kind, uint64_t bytes) {
  if (record == NULL) return;
  ab_step *step = next_step(record);
  if (step == NULL) return;
  *step = (ab_step){.kind = kind, .bytes = bytes};
  record->bytes_copied += bytes;
}

void ab__record_rewind(ab_record *record, uint32_t mark) {
  if (record == NULL) return;
  while (record->step_count > mark) record->bytes_copied -= record->steps[--record->step_count].bytes;
}

void ab__record_ends(ab_record *record, const ab__situation *at) {
  if (record == NULL) return;
  record->source = at->source;
  record->target = at->target;
  record->source_device = at->info->device;
  record->target_device = at->device;
  record->source_dtype = at->info->dtype;
  record->target_dtype = at->dtype;
  record->bytes = at->bytes;
}

double ab__record_clock(void) {
  struct timespec at;
  clock_gettime(CLOCK_MONOTONIC, &at);
  return (double)at.tv_sec + 1e-9 * (double)at.tv_nsec;
}
