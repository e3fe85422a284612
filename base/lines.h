/* base/lines.h - a text file line by line, knowing where it stands. */
#ifndef SP_LINES_H
#define SP_LINES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "base/err.h"

typedef struct sp_lines {
  FILE *f;
  const char *name; /* for messages: the path, or "standard input"; borrowed */
  char *line;       /* the current line, NUL-terminated, without its \n or \r\n */
  size_t n;         /* its bytes; it may hold NULs */
  size_t cap, max;
  uint64_t number; /* of the current line, from 1 */
  uint64_t offset; /* of the byte after it in the file */
} sp_lines;

/* `path` is borrowed until close; "-" is standard input. A line over `max_line` bytes is
 * EINVAL with its number. Errors: ENOTFOUND, EIO. */
sp_err sp_lines_open(const char *path, size_t max_line, sp_lines *out);

/* Reads the next line; *more is false at the end of the file. A byte order mark before the
 * first line is no part of it. No more than max_line is held in memory. Errors: EINVAL, EIO,
 * ENOMEM. */
sp_err sp_lines_next(sp_lines *in, bool *more);
void sp_lines_close(sp_lines *in);

#endif
