/* SPDX-License-Identifier: MIT
 * Records: what a conversion will do or did. Every function takes a NULL record as "nobody asked". */
#ifndef AB__RECORD_H
#define AB__RECORD_H

#include "route.h"

void ab__record_begin(ab_record *record);
/// Adds a refused way; the same reason twice is said once.
void ab__record_refused(ab_record *record, uint32_t kind, const char *reason);
/// Adds a step taken; `bytes` copied by it.
void ab__record_step(ab_record *record, ab_step_kind kind, uint64_t bytes);
/// Forgets the steps taken since `mark` (a value of record->step_count): that way failed.
void ab__record_rewind(ab_record *record, uint32_t mark);
/// Writes what is known of both ends.
void ab__record_ends(ab_record *record, const ab__situation *at);
/// A clock for ab_record.seconds: seconds since some moment, never set back.
double ab__record_clock(void);

#endif
