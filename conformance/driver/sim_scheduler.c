/* SPDX-License-Identifier: MIT
 * Which operation runs next: the adversary. */
#include "sim.h"

static sim_policy_kind policy;
static uint64_t state, marks;

/* splitmix64 */
static uint64_t random_number(void) {
  uint64_t z = state += 0x9E3779B97F4A7C15u;
  z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
  z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
  return z ^ (z >> 31);
}

void sim__schedule_reseed(uint64_t seed) { state = seed; }
void sim__schedule_reset(void) { policy = SIM_CONSUMERS_FIRST; }

static int can_run(const sim_operation *operation) {
  if (operation == NULL || operation->gate) return 0;
  for (int i = 0; i < operation->after_count; ++i)
    if (!operation->after[i]->done) return 0;
  return 1;
}

/* Marks `wanted` and all that must run before it. */
static void mark_needed(sim_operation *wanted) {
  if (wanted->done || wanted->mark == marks) return;
  for (sim_operation *operation = wanted->stream->head;; operation = operation->next) {
    if (operation->mark != marks) {
      operation->mark = marks;
      for (int i = 0; i < operation->after_count; ++i) mark_needed(operation->after[i]);
    }
    if (operation == wanted) return;
  }
}

static int rank_of(const sim_operation *operation) {
  return operation->rank == SIM_RANK_RECORD && operation->awaited ? SIM_RANK_WORK : operation->rank;
}

/* Whether stream `a` goes before stream `b`; both can run. */
static int goes_before(const sim_stream *a, const sim_stream *b, sim_policy_kind by) {
  if (a->weight != b->weight) return a->weight > b->weight;
  if (by == SIM_PRODUCERS_FIRST) return a->enqueued < b->enqueued;
  const int rank_a = rank_of(a->head), rank_b = rank_of(b->head);
  return rank_a != rank_b ? rank_a < rank_b : a->enqueued > b->enqueued;
}

static int allowed(const sim_stream *stream, int only_marked, int marked) {
  return can_run(stream->head) && (!only_marked || (stream->head->mark == marks) == marked);
}

static sim_stream *best(sim_policy_kind by, int only_marked, int marked) {
  sim_stream *found = NULL;
  for (sim_stream *stream = sim__streams; stream != NULL; stream = stream->next)
    if (allowed(stream, only_marked, marked) && (found == NULL || goes_before(stream, found, by))) found = stream;
  return found;
}

/* Any stream of the greatest weight. */
static sim_stream *anyone(void) {
  sim_stream *found = NULL;
  uint64_t seen = 0;
  for (sim_stream *stream = sim__streams; stream != NULL; stream = stream->next) {
    if (!can_run(stream->head)) continue;
    if (found != NULL && stream->weight < found->weight) continue;
    seen = found == NULL || stream->weight > found->weight ? 1 : seen + 1;
    if (seen == 1 || random_number() % seen == 0) found = stream;
  }
  return found;
}

static sim_stream *next_stream(sim_operation *wanted, int poll) {
  const sim_policy_kind by = policy == SIM_MIXED ? (sim_policy_kind)(random_number() % SIM_MIXED) : policy;
  if (by == SIM_RANDOM) return anyone();
  if (by != SIM_ONLY_NEEDED || wanted == NULL) return best(by, 0, 0);
  ++marks;
  mark_needed(wanted);
  sim_stream *const first = best(SIM_CONSUMERS_FIRST, 1, !poll);
  return first != NULL ? first : best(SIM_CONSUMERS_FIRST, 0, 0);
}

int sim__step(sim_operation *wanted, int poll) {
  sim_stream *const stream = next_stream(wanted, poll);
  if (stream == NULL) return 0;
  sim__execute(stream->head);
  return 1;
}

/* What stands in the way: the first operation that cannot run, on the way back from `wanted`. */
static const sim_operation *obstacle(sim_operation *wanted) {
  for (const sim_operation *operation = wanted->stream->head;; operation = operation->stream->head) {
    const sim_operation *before = NULL;
    for (int i = 0; i < operation->after_count && before == NULL; ++i)
      if (!operation->after[i]->done) before = operation->after[i];
    if (before == NULL) return operation;
    operation = before;
  }
}

CUresult sim__wait(sim_operation *wanted) {
  sim__operation_keep(wanted);
  CUresult result = CUDA_SUCCESS;
  while (!wanted->done && result == CUDA_SUCCESS) {
    if (sim__step(wanted, 0)) continue;
    const sim_operation *const stuck = obstacle(wanted);
    char name[48];
    sim__fault("deadlock: %s waits for what can never run: %s on %s", sim__caller(), stuck->name,
               sim__stream_name(stuck->stream, name));
    result = CUDA_ERROR_TIMEOUT;
  }
  sim__operation_drop(wanted);
  return result;
}

CUresult sim__wait_stream(sim_stream *stream) { return stream->head == NULL ? CUDA_SUCCESS : sim__wait(stream->last); }

static int touches(const sim_operation *operation, const sim_block *block) {
  for (int i = 0; i < operation->touched_count; ++i)
    if (operation->touched[i] == block) return 1;
  return 0;
}

static sim_operation *pending_on(const sim_block *block) {
  for (sim_stream *stream = sim__streams; stream != NULL; stream = stream->next)
    for (sim_operation *operation = stream->head; operation != NULL; operation = operation->next)
      if (touches(operation, block)) return operation;
  return NULL;
}

CUresult sim__wait_block(sim_block *block) {
  CUresult result = CUDA_SUCCESS;
  for (sim_operation *operation; result == CUDA_SUCCESS && (operation = pending_on(block)) != NULL;)
    result = sim__wait(operation);
  return result;
}

/* The order of the list does not matter: each wait is for all that was enqueued before. */
CUresult sim__wait_context(sim_context *context) {
  for (sim_stream *stream = sim__streams; stream != NULL;) {
    if (stream->context != context || stream->head == NULL) {
      stream = stream->next;
      continue;
    }
    const CUresult result = sim__wait_stream(stream);
    if (result != CUDA_SUCCESS) return result;
    stream = sim__streams; /* streams may be gone */
  }
  return CUDA_SUCCESS;
}

/* ------------------------------------------------------------------ controls */

SIM_API void sim_policy(sim_policy_kind wanted) {
  const int inside = sim__lock();
  policy = wanted;
  sim__unlock(inside);
}

SIM_API int sim_step(void) {
  const int inside = sim__lock();
  const int ran = inside == SIM_OUTSIDE && sim__step(NULL, 1);
  sim__unlock(inside);
  return ran;
}

SIM_API void sim_run_all(void) {
  while (sim_step()) continue;
}

SIM_API int sim_idle(void) {
  const int inside = sim__lock();
  int idle = 1;
  for (const sim_stream *stream = sim__streams; stream != NULL; stream = stream->next) idle &= stream->head == NULL;
  sim__unlock(inside);
  return idle;
}
