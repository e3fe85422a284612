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

/* Room for one byte more and the NUL. */
static sp_err grow(sp_lines *in) {
  size_t cap = in->cap < 256 ? 256 : in->cap * 2;
  char *line = cap > in->cap ? realloc(in->line, cap) : NULL;
  if (!line) return sp_fail(SP_ENOMEM, "%s: out of memory", in->name);
  in->line = line;
  in->cap = cap;
  return SP_OK;
}

/* Not getline(): it takes a whole line, however long, before anyone can refuse it. */
static sp_err read_line(sp_lines *in, bool *ended) {
  const size_t most = in->max < SIZE_MAX - 2 ? in->max + 1 : in->max; /* with a \r */
  int c;
  errno = 0;
  for (in->n = 0; (c = getc_unlocked(in->f)) != EOF; in->line[in->n++] = (char)c) {
    if (in->n + 2 > in->cap) {
      sp_err err = grow(in);
      if (err) return err;
    }
    if (c == '\n') break;
    if (in->n == most)
      return sp_fail(SP_EINVAL, "%s:%llu: a line of more than %zu bytes", in->name,
                     (unsigned long long)in->number + 1, in->max);
  }
  *ended = c == '\n';
  if (c == EOF && ferror(in->f))
    return sp_fail_errno(errno ? errno : EIO, "%s", in->name);
  return SP_OK;
}

sp_err sp_lines_next(sp_lines *in, bool *more) {
  static const char MARK[] = "\xef\xbb\xbf"; /* U+FEFF, as some editors begin a file */
  *more = false;
  bool ended, first = in->offset == 0;
  sp_err err = read_line(in, &ended);
  if (err || (in->n == 0 && !ended)) return err;
  in->offset += in->n + ended;
  in->number++;
  if (in->n && in->line[in->n - 1] == '\r') in->n--;
  if (first && in->n >= 3 && memcmp(in->line, MARK, 3) == 0)
    memmove(in->line, in->line + 3, in->n -= 3);
  if (in->n > in->max)
    return sp_fail(SP_EINVAL, "%s:%llu: a line of more than %zu bytes", in->name,
                   (unsigned long long)in->number, in->max);
  in->line[in->n] = '\0';
  *more = true;
  return SP_OK;
}

void sp_lines_close(sp_lines *in) {
  if (in->f && in->f != stdin) fclose(in->f);
  free(in->line);
  *in = (sp_lines){0};
}
