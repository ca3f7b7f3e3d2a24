/* SPDX-License-Identifier: MIT
 * The host memory of this process, as the system sees it. Nothing here allocates. */
#ifndef AB__PROCESS_MEMORY_H
#define AB__PROCESS_MEMORY_H

#include <stdint.h>

/// Memory of the process that is really there, bytes; UINT64_MAX: cannot be known.
uint64_t ab__process_resident(void);
/// What malloc keeps of what was freed, bytes; UINT64_MAX: cannot be known.
uint64_t ab__process_cached(void);
/// The most that the process may take: the least of the machine's memory, its control group's limit and its address
/// space, bytes; UINT64_MAX: cannot be known.
uint64_t ab__process_limit(void);
/// Has malloc give back what it keeps. Returns: what went back, bytes; UINT64_MAX: cannot be known.
uint64_t ab__process_trim(void);

#endif
