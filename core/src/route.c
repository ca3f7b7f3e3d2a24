/* SPDX-License-Identifier: MIT */
#include "route.h"

#include "dtype.h"
#include "memory.h"
#include "transfer.h"

/* Cheapest first: nothing copied, then one copy by the core, then what the frameworks do themselves. */
const ab__way ab__ways[AB__WAY_COUNT] = {
    {AB__FETCH_SHARE, AB__HOLD_SHARE, AB__DELIVER_DIRECT, AB_STEP_EXCHANGE},
    {AB__FETCH_SHARE, AB__HOLD_SHARE, AB__DELIVER_WRAP, AB_STEP_WRAP},
    {AB__FETCH_MAP, AB__HOLD_SHARE, AB__DELIVER_DIRECT, AB_STEP_MAP},
    {AB__FETCH_READ, AB__HOLD_COPY, AB__DELIVER_DIRECT, AB_STEP_PIVOT},
    {AB__FETCH_READ, AB__HOLD_COPY, AB__DELIVER_WRAP, AB_STEP_PIVOT},
    {AB__FETCH_MAP, AB__HOLD_COPY, AB__DELIVER_DIRECT, AB_STEP_PIVOT},
    {AB__FETCH_MAP, AB__HOLD_COPY, AB__DELIVER_WRAP, AB_STEP_PIVOT},
    {AB__FETCH_READ, AB__HOLD_FIT, AB__DELIVER_FILL, AB_STEP_FROM_HOST},
    {AB__FETCH_READ, AB__HOLD_FIT, AB__DELIVER_PUSH, AB_STEP_FROM_HOST},
    {AB__FETCH_MAP, AB__HOLD_FIT, AB__DELIVER_PUSH, AB_STEP_FROM_HOST},
    {AB__FETCH_TO_HOST, AB__HOLD_FIT, AB__DELIVER_DIRECT, AB_STEP_TO_HOST},
    {AB__FETCH_TO_HOST, AB__HOLD_FIT, AB__DELIVER_WRAP, AB_STEP_TO_HOST},
    {AB__FETCH_TO_HOST, AB__HOLD_FIT, AB__DELIVER_FILL, AB_STEP_FROM_HOST},
    {AB__FETCH_TO_HOST, AB__HOLD_FIT, AB__DELIVER_PUSH, AB_STEP_FROM_HOST},
};

#define refuse(why, ...) ((why) != NULL ? (void)snprintf((why)->reason, AB_STEP_REASON, __VA_ARGS__) : (void)0, 1)

int ab__is_host(DLDevice device) {
  return device.device_type == kDLCPU || device.device_type == kDLCUDAHost || device.device_type == kDLROCMHost;
}

static const char *source_name(const ab__situation *at) { return at->source->descriptor->name; }
static const char *target_name(const ab__situation *at) { return at->target->descriptor->name; }

/* ------------------------------------------------------------------ what the target can hold */

static int holds(const ab__ability *ability, DLDataType dtype) {
  const int index = ab__dtype_index(dtype);
  return index >= 0 && (ability->dtypes >> index & 1);
}

/* How near `to` is: of its own kind first (unsigned integers may become signed ones), then without losing values, then
 * the smallest that holds all or, where none does, the largest; and between two of those the one with its own code. */
static int nearness(DLDataType from, DLDataType to) {
  const int same_code = to.code == from.code;
  const int same_kind = same_code || (from.code == kDLUInt && to.code == kDLInt);
  const int stays_real = to.code != kDLComplex || from.code == kDLComplex;
  if (ab_dtype_can_cast(from, to, AB_CASTING_SAFE))
    return same_kind * 4096 + stays_real * 2048 + 1024 + same_code * 512 + 256 - to.bits;
  return same_kind * 4096 + stays_real * 2048 + to.bits + same_code; /* bits are multiples of 8 */
}

DLDataType ab__nearest_dtype(const ab__ability *ability, DLDataType dtype, ab_casting casting) {
  if (holds(ability, dtype)) return dtype;
  DLDataType best = {0, 0, 0};
  for (uint32_t index = 0; index < ability->stated.dtype_count; index++) {
    const DLDataType other = ability->stated.dtypes[index];
    if (!ab_dtype_can_cast(dtype, other, casting)) continue;
    if (best.bits == 0 || nearness(dtype, other) > nearness(dtype, best)) best = other;
  }
  return best;
}

static int dtype_refused(const ab__situation *at, const ab__ability *ability, ab_step *why) {
  if (holds(ability, at->dtype)) return 0;
  return refuse(why, "%s does not exist in %s", ab_dtype_name(at->dtype), target_name(at));
}

int ab__ability_refuses(const ab__situation *at, const ab__ability *ability, ab_step *why) {
  if (!ability->supported)
    return refuse(why, "%s takes nothing there%s%s", target_name(at), ability->why_not[0] != '\0' ? ": " : "",
                  ability->why_not);
  const ab_capabilities *can = &ability->stated;
  if (dtype_refused(at, ability, why)) return 1;
  if (at->info->ndim > can->max_ndim)
    return refuse(why, "%d dimensions; %s holds %d at most", at->info->ndim, target_name(at), can->max_ndim);
  if (at->info->ndim < can->min_ndim)
    return refuse(why, "%d dimension%s; %s needs at least %d", at->info->ndim, at->info->ndim == 1 ? "" : "s",
                  target_name(at), can->min_ndim);
  if (at->layout.empty && !(can->flags & AB_ACCEPTS_EMPTY))
    return refuse(why, "%s cannot hold an array without elements", target_name(at));
  if (at->info->ndim == 0 && !(can->flags & AB_ACCEPTS_ZERO_DIM))
    return refuse(why, "%s cannot hold a 0-d array", target_name(at));
  if (can->max_bytes != 0 && at->bytes > can->max_bytes)
    return refuse(why, "%llu bytes; one allocation of %s holds %llu at most", (unsigned long long)at->bytes,
                  target_name(at), (unsigned long long)can->max_bytes);
  return 0;
}

/* ------------------------------------------------------------------ may the memory go on as it is */

static int rule_refused(const ab__situation *at, ab_step *why) {
  if (at->copy == AB_COPY_ALWAYS) return refuse(why, "copy=True asks for a copy");
  const uint32_t mutability = at->info->mutability;
  if (mutability != AB_MUTABLE && (at->flags & AB_CONVERT_COPY_IMMUTABLE))
    return refuse(why, "immutable=\"copy\" asks for a copy of %s arrays that cannot be written", source_name(at));
  if (mutability == AB_MUTABLE && (at->flags & AB_CONVERT_COPY_MUTABLE))
    return refuse(why, "mutable=\"copy\" asks for a copy of arrays that can be written");
  const uint32_t late = mutability == AB_MUTABLE && (at->flags & AB_CONVERT_COPY_LATE_READS)
                            ? at->take->stated.flags & (AB_READS_HOST_LATER | AB_MAKES_IMMUTABLE)
                            : 0;
  if (late & AB_READS_HOST_LATER)
    return refuse(why, "%s may read the memory after the call, when it may have been written", target_name(at));
  if (late) return refuse(why, "arrays of %s do not change, and this memory may be written", target_name(at));
  if (mutability >= AB_READ_ONLY && !(at->take->stated.flags & AB_CARRIES_READ_ONLY))
    return refuse(why, "the memory is read-only, and %s cannot keep it from being written", target_name(at));
  return 0;
}

static const char *const layout_words[] = {"any strides", "no negative strides", "dense arrays in any order of axes",
                                           "C-contiguous arrays"};

static int layout_fits(uint32_t wanted, const ab__layout *layout) {
  if (layout->empty) return 1;
  switch (wanted) {
    case AB_LAYOUT_ANY:
      return 1;
    case AB_LAYOUT_NON_NEGATIVE:
      return !layout->negative;
    case AB_LAYOUT_PERMUTED_COMPACT:
      return layout->dense && !layout->negative;
    default:
      return layout->dense_c;
  }
}

static int layout_refused(const ab__situation *at, const ab__layout *layout, ab_step *why) {
  if (layout->fractional && !layout->empty) return refuse(why, "its strides are no whole numbers of elements");
  const uint32_t wanted = at->take->stated.layout;
  if (layout_fits(wanted, layout)) return 0;
  return refuse(why, "its strides do not fit: %s takes %s", target_name(at), layout_words[wanted]);
}

static int alignment_refused(const ab__situation *at, const void *data, ab_step *why) {
  if (data == NULL || at->bytes == 0) return 0;
  const uint32_t wanted = at->take->stated.alignment != 0 ? at->take->stated.alignment : at->itemsize;
  const uintptr_t off = (uintptr_t)data & (wanted - 1);
  if (off == 0) return 0;
  return refuse(why, "its address is %u bytes past a multiple of %u, which %s needs", (unsigned)off, wanted,
                target_name(at));
}

int ab__share_refused(const ab__situation *at, const void *data, const ab__layout *layout, ab_step *why) {
  if (rule_refused(at, why)) return 1;
  if (at->dtype.code != at->info->dtype.code || at->dtype.bits != at->info->dtype.bits)
    return refuse(why, "the dtype changes from %s to %s", ab_dtype_name(at->info->dtype), ab_dtype_name(at->dtype));
  if (at->info->flags & AB_INFO_BYTE_SWAPPED) return refuse(why, "its elements are in the other byte order");
  return layout_refused(at, layout, why) || alignment_refused(at, data, why);
}

/* ------------------------------------------------------------------ one way */

static int opencl(DLDevice device) { return device.device_type == kDLOpenCL; }

/* Where the framework's own call is as fast, or the core cannot do it, there is nothing to tell. */
static int fills(const ab__situation *at) {
  return at->target->vtable->empty != NULL && !ab__is_host(at->device) && !opencl(at->device) &&
         at->bytes >= AB__STAGE_FROM;
}

int ab__way_is_foreign(const ab__situation *at, const ab__way *way) {
  if (way->deliver == AB__DELIVER_FILL && !fills(at)) return 1;
  const int from_host = ab__is_host(at->info->device);
  const int to_host = ab__is_host(at->device);
  if (way->fetch == AB__FETCH_MAP && !opencl(at->info->device)) return 1;
  if (way->deliver == AB__DELIVER_WRAP && !opencl(at->device)) return 1;
  if (way->fetch == AB__FETCH_READ && !from_host) return 1;
  if (way->fetch == AB__FETCH_SHARE && way->deliver == AB__DELIVER_WRAP && !from_host) return 1;
  if (way->deliver == AB__DELIVER_DIRECT) {
    if (way->fetch == AB__FETCH_SHARE)
      return from_host != to_host || (!from_host && at->info->device.device_type != at->device.device_type);
    return !to_host;
  }
  return 0;
}

static int fetch_refused(const ab__situation *at, const ab__way *way, ab_step *why) {
  const ab_plugin_vtable *slots = at->source->vtable;
  const int shareable = slots->to_dlpack != NULL && !(at->info->flags & AB_INFO_NOT_SHAREABLE);
  switch (way->fetch) {
    case AB__FETCH_SHARE:
    case AB__FETCH_MAP:
      if (shareable || at->info->tensor != NULL) return 0;
      return refuse(why, "%s cannot share it: %s", source_name(at),
                    at->info->why_not != NULL ? at->info->why_not : "the backend shares nothing");
    case AB__FETCH_READ:
      if (at->info->data != NULL || at->layout.empty || shareable || at->info->tensor != NULL) return 0;
      return refuse(why, "its bytes are not its values");
    default:
      if (slots->to_host != NULL) return 0;
      return refuse(why, "%s cannot bring it to the host", source_name(at));
  }
}

static int device_refused(const ab__situation *at, ab_step *why) {
  const DLDevice from = at->info->device;
  if (ab__is_host(from) || from.device_id == at->device.device_id) return 0;
  return refuse(why, "it lies on device %d, not on device %d", from.device_id, at->device.device_id);
}

/* A copy of the core's is as aligned as every allocation of the core's. */
static int copy_refused(const ab__situation *at, const ab__way *way, ab_step *why) {
  if (at->copy == AB_COPY_NEVER) return refuse(why, "copy=False forbids it");
  const int takes = way->deliver != AB__DELIVER_PUSH && way->deliver != AB__DELIVER_FILL;
  const uint32_t wanted = takes ? at->take->stated.alignment : 1;
  if (wanted <= AB__ALIGNMENT) return 0;
  return refuse(why, "%s needs memory on a multiple of %u bytes; a copy lies on one of %d", target_name(at), wanted,
                AB__ALIGNMENT);
}

static int deliver_refused(const ab__situation *at, const ab__way *way, ab_step *why) {
  if (way->deliver == AB__DELIVER_FILL) return ab__ability_refuses(at, at->push->supported ? at->push : at->take, why);
  const int push = way->deliver == AB__DELIVER_PUSH;
  const int has_slot = push ? at->target->vtable->from_host != NULL : at->target->vtable->from_dlpack != NULL;
  if (!has_slot)
    return refuse(why, "%s %s", target_name(at), push ? "copies nothing from the host" : "imports nothing");
  return ab__ability_refuses(at, push ? at->push : at->take, why);
}

int ab__way_refused(const ab__situation *at, const ab__way *way, ab_step *why) {
  if (deliver_refused(at, way, why) || fetch_refused(at, way, why)) return 1;
  if (way->hold != AB__HOLD_SHARE) return copy_refused(at, way, why);
  if (way->fetch == AB__FETCH_SHARE && device_refused(at, why)) return 1;
  /* A device buffer has no address and its own layout is the framework's: what is mapped is checked when it is there.
   */
  const void *data = way->fetch == AB__FETCH_MAP ? NULL : at->info->data;
  return ab__share_refused(at, data, &at->layout, why);
}
