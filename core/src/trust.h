/* SPDX-License-Identifier: MIT
 * Which files may be loaded: whoever can write a plugin, or the folder it lies in, runs code as this user. */
#ifndef AB__TRUST_H
#define AB__TRUST_H

#include <sys/stat.h>

#include <arraybridge/arraybridge.h>

/* What one discovery believes. */
typedef struct ab__trust {
  int environment; /* 1: environment variables, and the user's data folder that they lead to, count */
  int writable;    /* 1: files and folders that others may write are loaded all the same */
} ab__trust;

/// 1 if the process has more rights than the user who started it (set-user-id, file capabilities).
int ab__trust_elevated(void);
/// What a bridge with the flags AB_BRIDGE_* believes. Elevated, the environment belongs to the attacker.
ab__trust ab__trust_of(uint32_t flags, int elevated);

/// Judges one file or folder. `user` and `group` are the effective ones. Returns: AB_OK; AB_REFUSED.
ab_status ab__trust_judge(const char *path, const struct stat *status, uid_t user, gid_t group, ab_error *error);
/// Judges a plugin file and the folder it lies in; parents of that folder do not count (a sticky /tmp is one).
/// Returns: AB_OK; AB_REFUSED; AB_UNAVAILABLE if one of them cannot be looked at.
ab_status ab__trust_check(const ab__trust *trust, const char *path, ab_error *error);
/// Judges a folder on its own. Returns: as ab__trust_check().
ab_status ab__trust_check_folder(const ab__trust *trust, const char *path, ab_error *error);

#endif
