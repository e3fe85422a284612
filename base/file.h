/* base/file.h - whole files: mapped for reading, replaced in one step for writing. */
#ifndef SP_FILE_H
#define SP_FILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "base/err.h"

/* A file's bytes, mapped read-only. An empty file has data NULL and n 0. */
typedef struct sp_map {
  const uint8_t *data;
  size_t n;
} sp_map;

/* Errors: ENOTFOUND, EIO (what is no regular file too: it is not opened, so that a pipe that
 * lies about does not block). The caller ends it with sp_map_close(). */
sp_err sp_map_open(const char *path, sp_map *out);
void sp_map_close(sp_map *m); /* {0} is fine */

/* For a map that has been read through and will be looked at here and there: the process no
 * longer counts its pages as its own; each is read again when it is touched. */
void sp_map_forget(const sp_map *m);

/* Reads all of the regular file `path` into a malloc'ed, NUL-terminated block (*n without
 * the NUL). More than `max` bytes is EINVAL. The caller frees *out. */
sp_err sp_file_read(const char *path, size_t max, char **out, size_t *n);

/* The same for what is left of an open stream, a pipe's too; `name` is for messages. */
sp_err sp_stream_read(FILE *f, const char *name, size_t max, char **out, size_t *n);

/* A file that appears under its name only when it is complete: written beside it as
 * PATH.tmp-PID, flushed to disk and renamed by commit, removed by abort. A link is followed.
 * What is no file (a pipe, a device, and "-", standard output) is written as it comes. */
typedef struct sp_out {
  FILE *f;
  char *path, *tmp; /* NULL for standard output; tmp also for pipes and devices */
} sp_out;

sp_err sp_out_open(const char *path, sp_out *out); /* Errors: ENOTFOUND, EIO, ENOMEM */
sp_err sp_out_commit(sp_out *out); /* Errors: EIO (disk full); then as aborted */
void sp_out_abort(sp_out *out);

/* Sees that the names in a directory are on the disk. Errors: ENOTFOUND, EIO. */
sp_err sp_dir_sync(const char *path);

/* "dir/name" in a malloc'ed string, or NULL when memory is out (and the failure is kept).
 */
char *sp_path_join(const char *dir, const char *name);
bool sp_path_exists(const char *path);

/* "dir/name" if that is there, else NULL; *err is ENOMEM when memory is out. */
char *sp_path_if_exists(const char *dir, const char *name, sp_err *err);
bool sp_path_is_dir(const char *path);

/* SP_OK for a regular file. Errors: ENOTFOUND, EIO. */
sp_err sp_path_need_file(const char *path);

#endif
