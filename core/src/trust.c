/* SPDX-License-Identifier: MIT */
#include "trust.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <unistd.h>

int ab__trust_elevated(void) { return getauxval(AT_SECURE) != 0; }

static int environment_says_yes(const char *variable) {
  const char *value = getenv(variable);
  return value != NULL && strcmp(value, "1") == 0;
}

ab__trust ab__trust_of(uint32_t flags, int elevated) {
  const int environment = !elevated && (flags & AB_BRIDGE_NO_ENVIRONMENT) == 0;
  const int writable =
      (flags & AB_BRIDGE_TRUST_WRITABLE) != 0 || (environment && environment_says_yes("ARRAYBRIDGE_TRUST_WRITABLE"));
  return (ab__trust){.environment = environment, .writable = writable};
}

#define HINT_ALLOW "; if that is meant so, set ARRAYBRIDGE_TRUST_WRITABLE=1 (in C: AB_BRIDGE_TRUST_WRITABLE)"

static ab_status refuse_writable(const char *path, mode_t mode, const char *who, char letter, ab_error *error) {
  ab_error_set(error, AB_REFUSED, "%s may write %s (mode %04o)", who, path, (unsigned)(mode & 07777));
  ab_error_hint(error, "chmod %c-w %s" HINT_ALLOW, letter, path);
  return AB_REFUSED;
}

ab_status ab__trust_judge(const char *path, const struct stat *status, uid_t user, gid_t group, ab_error *error) {
  if (status->st_uid != 0 && status->st_uid != user) {
    ab_error_set(error, AB_REFUSED, "user %ld owns %s (mode %04o), neither root nor user %ld, who runs this process",
                 (long)status->st_uid, path, (unsigned)(status->st_mode & 07777), (long)user);
    ab_error_hint(error, "chown %ld %s" HINT_ALLOW, (long)user, path);
    return AB_REFUSED;
  }
  if ((status->st_mode & S_IWOTH) != 0) return refuse_writable(path, status->st_mode, "others", 'o', error);
  // A group of one's own (umask 0002) is common; a group shared with strangers is not one's own.
  const int foreign_group = status->st_gid != 0 && status->st_gid != group;
  if ((status->st_mode & S_IWGRP) != 0 && foreign_group)
    return refuse_writable(path, status->st_mode, "a foreign group", 'g', error);
  return AB_OK;
}

static ab_status check_one(const char *path, ab_error *error) {
  struct stat status;
  if (stat(path, &status) != 0)
    return ab_error_set(error, AB_UNAVAILABLE, "cannot look at %s: %s", path, strerror(errno));
  return ab__trust_judge(path, &status, geteuid(), getegid(), error);
}

ab_status ab__trust_check_folder(const ab__trust *trust, const char *path, ab_error *error) {
  return trust->writable ? AB_OK : check_one(path, error);
}

ab_status ab__trust_check(const ab__trust *trust, const char *path, ab_error *error) {
  if (trust->writable) return AB_OK;
  const ab_status status = check_one(path, error);
  if (status != AB_OK) return status;

  const char *slash = strrchr(path, '/');
  if (slash == NULL) return check_one(".", error);
  const size_t length = slash == path ? 1 : (size_t)(slash - path);
  char folder[PATH_MAX];
  if (length >= sizeof folder) return ab_error_set(error, AB_UNAVAILABLE, "path too long: %s", path);
  memcpy(folder, path, length);
  folder[length] = '\0';
  return check_one(folder, error);
}
