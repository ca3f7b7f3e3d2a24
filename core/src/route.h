/* SPDX-License-Identifier: MIT
 * Routes: the ways from one backend to another, cheapest first, and why a way cannot be gone. Pure: calls nobody. */
#ifndef AB__ROUTE_H
#define AB__ROUTE_H

#include "backend.h"
#include "tensor.h"

typedef enum ab__fetch {
  AB__FETCH_SHARE,   ///< the source's to_dlpack()
  AB__FETCH_MAP,     ///< the same, then its OpenCL buffer mapped to the host
  AB__FETCH_READ,    ///< host memory, only to be copied from
  AB__FETCH_TO_HOST  ///< the source's to_host()
} ab__fetch;

typedef enum ab__hold {
  AB__HOLD_SHARE,  ///< the memory goes on as it is
  AB__HOLD_COPY,   ///< the core copies it
  AB__HOLD_FIT     ///< as it is if that fits, else copied
} ab__hold;

typedef enum ab__deliver {
  AB__DELIVER_DIRECT,  ///< the target's from_dlpack()
  AB__DELIVER_WRAP,    ///< the same, of host memory made an OpenCL buffer
  AB__DELIVER_PUSH,    ///< the target's from_host()
  AB__DELIVER_FILL     ///< the target's empty(), filled by the core
} ab__deliver;

typedef struct ab__way {
  uint8_t fetch, hold, deliver;
  uint8_t kind;  ///< ab_step_kind under which a refusal is shown
} ab__way;

enum { AB__WAY_COUNT = 14 };
extern const ab__way ab__ways[AB__WAY_COUNT];

/// Everything that decides a route.
typedef struct ab__situation {
  const ab_backend *source;
  const ab_backend *target;
  const ab_array_info *info;
  ab__layout layout;
  uint32_t itemsize;
  uint64_t bytes;
  DLDataType dtype;         ///< wanted
  DLDevice device;          ///< of the target
  const ab__ability *take;  ///< from_dlpack there
  const ab__ability *push;  ///< from_host there
  uint32_t flags;           ///< AB_CONVERT_*
  uint32_t copy;            ///< ab_copy_rule
} ab__situation;

/// 1 if the way makes no sense here at all (nothing to tell the user about).
int ab__way_is_foreign(const ab__situation *at, const ab__way *way);
/// 1 if the way cannot be gone; the reason is written to `why` unless that is NULL.
int ab__way_refused(const ab__situation *at, const ab__way *way, ab_step *why);
/// 1 if this memory cannot go on as it is: `data` (NULL: unknown), its layout and dtype.
int ab__share_refused(const ab__situation *at, const void *data, const ab__layout *layout, ab_step *why);
/// 1 if the target's slot cannot hold the array whatever is done about its memory.
int ab__ability_refuses(const ab__situation *at, const ab__ability *ability, ab_step *why);

/// The dtype of `ability` nearest to `dtype` that `casting` allows; bits 0: none.
DLDataType ab__nearest_dtype(const ab__ability *ability, DLDataType dtype, ab_casting casting);

/// 1 for host memory of any kind.
int ab__is_host(DLDevice device);

#endif
