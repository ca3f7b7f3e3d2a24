/* SPDX-License-Identifier: MIT
 * Pages of fresh host memory. A page that nobody has touched costs a fault, under a lock of the process: to write a
 * gigabyte of them takes ten times as long as the transfer that fills them. */
#ifndef AB__HOST_PAGES_H
#define AB__HOST_PAGES_H

#include <stdint.h>

/// 1 unless so many more bytes would go beyond what the control group or the machine has left: who populates pages
/// there does not get an error but the system's killer. Costs a few reads of files, for large sizes only.
int ab__host_pages_fit(uint64_t bytes);

/// Makes the whole pages between `begin` and `begin + bytes` be there, huge ones where they were asked for
/// (ab__allocate_aligned() does). What is in them is lost. Nothing happens where the system knows no way.
void ab__host_pages_populate(void *begin, uint64_t bytes);

#endif
