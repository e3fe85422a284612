/* base/lines.c - lines of bounded length from a file or standard input. */
#include "base/lines.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

sp_err sp_lines_open(const char *path, size_t max_line, sp_lines *out) {
  *out = (sp_lines){.name = path, .max = max_line};
  if (strcmp(path, "-") == 0) {
    out->name = "standard input";
    out->f = stdin;
    return SP_OK;
  }
  out->f = fopen(path, "rbe");
  if (!out->f) return sp_fail_errno(errno, "%s", path);
  struct stat st;
  if (fstat(fileno(out->f), &st) == 0 && S_ISDIR(st.st_mode)) {
    sp_lines_close(out);
    return sp_fail_errno(EISDIR, "%s", path);
  }
  return SP_OK;
}

sp_err sp_lines_next(sp_lines *in, bool *more) {
  *more = false;
  errno = 0;
  ssize_t got = getline(&in->line, &in->cap, in->f);
  if (got < 0) {
    if (ferror(in->f)) return sp_fail_errno(errno ? errno : EIO, "%s", in->name);
    if (errno == ENOMEM) return sp_fail(SP_ENOMEM, "%s: out of memory", in->name);
    return SP_OK;
  }
  in->n = (size_t)got;
  in->offset += in->n;
  in->number++;
  if (in->n && in->line[in->n - 1] == '\n') in->n--;
  if (in->n && in->line[in->n - 1] == '\r') in->n--;
  in->line[in->n] = '\0';
  if (in->n > in->max)
    return sp_fail(SP_EINVAL, "%s:%llu: a line of %zu bytes, at most %zu are read",
                   in->name, (unsigned long long)in->number, in->n, in->max);
  *more = true;
  return SP_OK;
}

void sp_lines_close(sp_lines *in) {
  if (in->f && in->f != stdin) fclose(in->f);
  free(in->line);
  *in = (sp_lines){0};
}
