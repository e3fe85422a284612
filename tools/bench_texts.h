/* tools/bench_texts.h - a file of texts in memory, and medians: what encoder benchmarks
 * share. */
#ifndef SP_BENCH_TEXTS_H
#define SP_BENCH_TEXTS_H

#include "base/buf.h"
#include "encoder/encoder.h"

typedef struct bench_texts {
  sp_buf bytes;
  size_t *ends; /* [n] in bytes */
  sp_text *list;
  size_t n, cap;
} bench_texts;

/* Reads JSON lines (tools/text_lines.h) as documents; {0} before, to be freed even after a
 * failure. Errors: ENOTFOUND, EFORMAT, EIO, ENOMEM; EINVAL: no text. */
sp_err bench_texts_read(const char *path, bench_texts *t);
void bench_texts_free(bench_texts *t);

/* Sorts n >= 1 values and returns the one that this share (0 .. 1) of them lie below. */
double bench_quantile(double *values, size_t n, double share);

#endif
