/* SPDX-License-Identifier: MIT */
#ifndef SIM_PER_THREAD_H
#define SIM_PER_THREAD_H

/// The twin of a driver function for which stream 0 is the calling thread's. `exported`: `name` is that of the twin
/// itself ("cuStreamQuery_ptsz"), else that of the function without a version. NULL: there is none.
void *sim__per_thread_symbol(const char *name, int exported);

#endif
