/* tools/bench_texts.c - a file of texts in memory. */
#include "tools/bench_texts.h"

#include <stdlib.h>

#include "tools/text_lines.h"

static sp_err add_line(bench_texts *t, const text_line *line) {
  if (t->n == t->cap) {
    size_t cap = t->cap ? 2 * t->cap : 1024;
    size_t *grown = realloc(t->ends, cap * sizeof *t->ends);
    if (!grown) return sp_fail(SP_ENOMEM, "texts: out of memory");
    t->ends = grown;
    t->cap = cap;
  }
  sp_err err = text_line_document(line, &t->bytes);
  if (!err) t->ends[t->n++] = t->bytes.n;
  return err;
}

sp_err bench_texts_read(const char *path, bench_texts *t) {
  text_lines in;
  sp_err err = text_lines_open(path, &in);
  if (err) return err;
  text_line line;
  for (bool more; !(err = text_lines_next(&in, &line, &more)) && more;)
    if ((err = add_line(t, &line))) break;
  text_lines_close(&in);
  if (!err && t->n == 0) err = sp_fail(SP_EINVAL, "%s: there are no texts", path);
  if (err) return err;
  t->list = malloc(t->n * sizeof *t->list);
  if (!t->list) return sp_fail(SP_ENOMEM, "texts: out of memory");
  for (size_t i = 0, at = 0; i < t->n; at = t->ends[i++])
    t->list[i] = (sp_text){t->bytes.data + at, t->ends[i] - at};
  return SP_OK;
}

void bench_texts_free(bench_texts *t) {
  sp_buf_free(&t->bytes);
  free(t->ends);
  free(t->list);
  *t = (bench_texts){0};
}

static int by_value(const void *a, const void *b) {
  double x = *(const double *)a, y = *(const double *)b;
  return (x > y) - (x < y);
}

double bench_quantile(double *values, size_t n, double share) {
  qsort(values, n, sizeof *values, by_value);
  size_t i = (size_t)(share * (double)n);
  return values[i < n ? i : n - 1];
}
