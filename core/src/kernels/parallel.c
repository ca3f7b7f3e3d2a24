/* SPDX-License-Identifier: MIT */
#include "parallel.h"

#include <pthread.h>
#include <signal.h>

typedef struct job {
  ab__part part;
  void *context;
  int64_t index;
  int64_t count;
} job;

static void *run_job(void *argument) {
  const job *work = argument;
  work->part(work->context, work->index, work->count);
  return NULL;
}

// The application's signals belong to its own threads; faults stay with the thread that caused them.
static void block_signals(sigset_t *previous) {
  sigset_t blocked;
  sigfillset(&blocked);
  sigdelset(&blocked, SIGSEGV);
  sigdelset(&blocked, SIGBUS);
  sigdelset(&blocked, SIGFPE);
  sigdelset(&blocked, SIGILL);
  pthread_sigmask(SIG_BLOCK, &blocked, previous);
}

int64_t ab__parallel_parts(uint64_t bytes, int64_t splits, uint32_t threads) {
  if (bytes < AB__PARALLEL_FROM || threads < 2) return 1;
  int64_t parts = threads < AB__MAX_THREADS ? (int64_t)threads : AB__MAX_THREADS;
  const uint64_t worthwhile = bytes / (AB__PARALLEL_FROM / 2);
  if ((uint64_t)parts > worthwhile) parts = (int64_t)worthwhile;
  return parts < splits ? parts : splits;
}

void ab__parallel_run(ab__part part, void *context, int64_t count) {
  if (count <= 1) {
    part(context, 0, 1);
    return;
  }
  job jobs[AB__MAX_THREADS];
  pthread_t threads[AB__MAX_THREADS];
  int started[AB__MAX_THREADS];
  sigset_t previous;
  block_signals(&previous);
  for (int64_t i = 1; i < count; i++) {
    jobs[i] = (job){part, context, i, count};
    started[i] = pthread_create(&threads[i], NULL, run_job, &jobs[i]) == 0;
  }
  pthread_sigmask(SIG_SETMASK, &previous, NULL);
  part(context, 0, count);
  for (int64_t i = 1; i < count; i++) {
    if (started[i]) pthread_join(threads[i], NULL);
    else run_job(&jobs[i]);
  }
}
