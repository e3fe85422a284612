/* tools/trec.c - TREC's text formats. */
#include "tools/trec.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/lines.h"
#include "tools/beir.h"

enum { MAX_LINE_BYTES = 1 << 20 };

/* --- reading --- */

/* The white space of the C locale; the user's locale and bytes above 127 do not count. */
static bool is_blank(char c) {
  return c == ' ' || (c >= '\t' && c <= '\r');
}

typedef struct field {
  const char *at;
  size_t n;
} field;

/* Cuts a line into at most `most` fields and returns how many there are; what follows the
 * last of them is not looked at. */
static int cut(const sp_lines *in, field *fields, int most) {
  const char *at = in->line, *end = in->line + in->n;
  int n = 0;
  while (n < most) {
    while (at < end && is_blank(*at)) at++;
    if (at == end) break;
    fields[n].at = at;
    while (at < end && !is_blank(*at)) at++;
    fields[n].n = (size_t)(at - fields[n].at);
    n++;
  }
  return n;
}

static sp_err short_line(const sp_lines *in, const char *what, const char *columns) {
  return sp_fail(SP_EFORMAT, "%s: line %llu: %s, expected '%s'", in->name,
                 (unsigned long long)in->number, what, columns);
}

static sp_err read_run_line(const sp_lines *in, sp_eval_ids *ids, sp_run *run) {
  field f[6];
  int n = cut(in, f, 6);
  if (n == 0 || f[0].at[0] == '#') return SP_OK;
  if (n < 6)
    return short_line(in, "less than six columns", "query Q0 document rank score tag");
  double score = strtod(f[4].at, NULL); /* stops at the blank behind the field */
  if (isnan(score))
    return sp_fail(SP_EFORMAT, "%s: line %llu: the score is NaN", in->name,
                   (unsigned long long)in->number);
  return sp_run_add(run, ids, f[0].at, f[0].n, f[2].at, f[2].n, score);
}

static sp_err read_qrels_line(const sp_lines *in, sp_eval_ids *ids, sp_qrels *qrels) {
  if (in->n && in->line[0] == '#') return SP_OK;
  field f[5];
  int n = cut(in, f, 5);
  if (n != 4)
    return short_line(in, n < 4 ? "less than four columns" : "more than four columns",
                      "query iteration document grade");
  return sp_qrels_add(qrels, ids, f[0].at, f[0].n, f[2].at, f[2].n,
                      strtoll(f[3].at, NULL, 10));
}

/* The first byte that is not blank, which is next then; EOF where there is none. It is looked
 * at in passing: a pipe can be read only once. */
static int first_byte(sp_lines *in) {
  int c;
  while ((c = getc(in->f)) != EOF && is_blank((char)c)) in->number += c == '\n';
  if (c != EOF) ungetc(c, in->f);
  return c;
}

sp_err sp_run_read(const char *path, sp_eval_ids *ids, sp_run *run) {
  sp_lines in;
  size_t before = run->n;
  sp_err err = sp_lines_open(path, MAX_LINE_BYTES, &in);
  if (err) return err;
  if (first_byte(&in) == '{') {
    err = sp_beir_run_read(in.f, in.name, ids, run);
    sp_lines_close(&in);
    return err;
  }
  for (bool more = true; !err;) {
    err = sp_lines_next(&in, &more);
    if (err || !more) break;
    err = read_run_line(&in, ids, run);
  }
  if (!err && run->n == before) err = sp_fail(SP_EFORMAT, "%s: no results", in.name);
  sp_lines_close(&in);
  return err;
}

sp_err sp_qrels_read(const char *path, sp_eval_ids *ids, sp_qrels *qrels) {
  sp_lines in;
  size_t before = qrels->n;
  sp_err err = sp_lines_open(path, MAX_LINE_BYTES, &in);
  if (err) return err;
  bool beir = false;
  for (bool more = true; !err;) {
    err = sp_lines_next(&in, &more);
    if (err || !more) break;
    if (in.number == 1 && sp_beir_is_heading(in.line, in.n))
      beir = true;
    else
      err = beir ? sp_beir_qrels_line(&in, ids, qrels) : read_qrels_line(&in, ids, qrels);
  }
  if (!err && qrels->n == before) err = sp_fail(SP_EFORMAT, "%s: no judgements", in.name);
  sp_lines_close(&in);
  return err;
}

/* --- writing --- */

/* Refuses what would not read back as one field. */
static sp_err check_id(const char *id, size_t n, bool query) {
  const char *fault = n == 0                  ? "is empty"
                      : query && id[0] == '#' ? "begins with #"
                                              : NULL;
  for (size_t i = 0; i < n && !fault; i++)
    if (is_blank(id[i])) fault = "holds white space";
  if (!fault) return SP_OK;
  return sp_fail(SP_EINVAL, "the id '%.*s' %s: a TREC run cannot hold it",
                 (int)(n < 64 ? n : 64), id, fault);
}

static sp_err write_lines(FILE *f, const sp_eval_ids *ids, const sp_run *run,
                          const char *tag) {
  unsigned rank = 0;
  for (size_t i = 0; i < run->n; i++) {
    const sp_run_line *line = &run->lines[i];
    rank = i && run->lines[i - 1].query == line->query ? rank + 1 : 1;
    size_t n, m;
    const char *query = sp_strmap_key(ids->queries, line->query, &n);
    const char *doc = sp_strmap_key(ids->docs, line->doc, &m);
    sp_err err = check_id(query, n, true);
    if (!err) err = check_id(doc, m, false);
    if (err) return err;
    char score[40];
    snprintf(score, sizeof score, "%.9g", line->score);
    if (strtod(score, NULL) != line->score)
      snprintf(score, sizeof score, "%.17g", line->score);
    fwrite(query, 1, n, f);
    fputs(" Q0 ", f);
    fwrite(doc, 1, m, f);
    fprintf(f, " %u %s %s\n", rank, score, tag);
  }
  return SP_OK;
}

sp_err sp_run_write(const char *path, const sp_eval_ids *ids, sp_run *run,
                    const char *tag) {
  sp_err err = sp_run_sort(ids, run);
  if (err) return err;
  sp_out out;
  if ((err = sp_out_open(path, &out))) return err;
  err = write_lines(out.f, ids, run, tag);
  if (!err && ferror(out.f)) err = sp_fail_errno(errno, "%s: cannot write", path);
  if (!err) return sp_out_commit(&out);
  sp_out_abort(&out);
  return err;
}
