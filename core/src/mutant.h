/* SPDX-License-Identifier: MIT
 * Mistakes made on purpose, to see that the tests find them. They exist only in the objects that the unit tests link;
 * everywhere else ab__mutated() is 0 and leaves nothing behind. */
#ifndef AB__MUTANT_H
#define AB__MUTANT_H

#define AB__MUTANTS(X)                                                                      \
  X(NONE, "nothing")                                                                        \
  X(NO_WAIT_BEFORE, "the consumer does not wait for the producer")                          \
  X(NO_WAIT_ON_RELEASE, "memory goes back without a wait")                                  \
  X(EVENT_AT_EXPORT, "the release event is recorded at the conversion")                     \
  X(EVENT_ON_PRODUCER, "the release event is recorded on the producer's stream")            \
  X(EVENT_OF_ONE_CONSUMER, "only one of several streams is waited for on release")          \
  X(FREED_AT_RETURN, "borrowed memory goes back when the conversion returns")               \
  X(DELETER_TWICE, "a deleter runs twice")                                                  \
  X(DELETER_NEVER, "a deleter never runs")                                                  \
  X(CALL_IN_CALLBACK, "a deleter calls the driver")                                         \
  X(NO_FENCE, "a framework that orders by itself is not fenced on release")                 \
  X(NO_WAIT_ON_SCOPE_ENTRY, "a scope's stream does not wait for its callers")               \
  X(NO_WAIT_ON_SCOPE_EXIT, "nobody waits for a scope's stream")                             \
  X(EXIT_OF_ONE_CALLER_ONLY, "one of several callers waits for a scope's stream")           \
  X(NO_WAIT_FOR_READERS, "a scope's stream does not wait for who reads its memory")         \
  X(NO_WAIT_FOR_LEASED, "streams that were leased meanwhile are not waited for on release") \
  X(LEGACY_FOR_STREAM, "the legacy stream is taken for a framework's own")                  \
  X(WRONG_DEVICE, "a stream is looked for on the first device")                             \
  X(QUERY_IN_CAPTURE, "events are asked for in a mode that breaks captures")                \
  X(OOM_WITHOUT_DRAINING, "out-of-memory is retried without draining the releases")         \
  X(PINNED_CHUNK_EARLY, "a pinned chunk is used again early")

typedef enum ab__mutant {
#define AB__MUTANT_NAME(name, text) AB__MUTANT_##name,
  AB__MUTANTS(AB__MUTANT_NAME)
#undef AB__MUTANT_NAME
      AB__MUTANT_COUNT
} ab__mutant;

extern ab__mutant ab__mutated_by; /* for the unit tests only */
#ifdef AB__WATCH_ALLOCATIONS
#define ab__mutated(name) (ab__mutated_by == AB__MUTANT_##name)
#else
#define ab__mutated(name) 0
#endif

#endif
