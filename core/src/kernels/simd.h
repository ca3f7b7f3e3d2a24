/* SPDX-License-Identifier: MIT
 *
 * simd.h: how kernels are compiled. Include it first: the pragma holds for what follows.
 */
#ifndef AB__SIMD_H
#define AB__SIMD_H

#include <stdint.h>  // and with it __GLIBC__

// GCC vectorises at -O3 only, and the build may ask for less. No trap handler looks at our comparisons.
#if defined(__GNUC__) && !defined(__clang__) && defined(__OPTIMIZE__)
#pragma GCC optimize("O3", "no-trapping-math")
#endif

/// Marks a function that is compiled for AVX2 as well and chosen when the library is loaded. Not under sanitizers:
/// the choice is made (ifunc) before their runtime is up.
#if defined(__x86_64__) && defined(__linux__) && defined(__GLIBC__) && defined(__GNUC__) && !defined(__clang__) && \
    defined(__OPTIMIZE__) && !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
#define AB__KERNEL __attribute__((target_clones("avx2", "default")))
#else
#define AB__KERNEL
#endif

#endif /* AB__SIMD_H */
