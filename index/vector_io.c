/* index/vector_io.c - picks the format, checks and repairs what it reads. */
#include "index/vector_io.h"

#include <assert.h>
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "index/vector_ops.h"

static const char *const FORMATS[] = {"auto",    "compact",  "jsonl",
                                      "seismic", "anserini", "csr"};
enum { N_FORMATS = sizeof FORMATS / sizeof *FORMATS };

const char *sp_vector_format_name(sp_vector_format format) {
  assert((unsigned)format < N_FORMATS);
  return FORMATS[format];
}

sp_err sp_vector_format_parse(const char *name, sp_vector_format *out) {
  for (int i = 0; i < N_FORMATS; i++) {
    if (strcmp(name, FORMATS[i]) != 0) continue;
    *out = (sp_vector_format)i;
    return SP_OK;
  }
  return sp_fail(SP_EINVAL,
                 "there is no vector format '%s': auto, compact, jsonl, seismic, "
                 "anserini or csr",
                 name);
}

static const char *const FAULTS[SP_VECTOR_N_FAULTS] = {
    [SP_VECTOR_UNSORTED] = "unsorted",
    [SP_VECTOR_DUPLICATE] = "duplicate",
    [SP_VECTOR_NAN] = "nan",
    [SP_VECTOR_NEGATIVE] = "negative",
    [SP_VECTOR_ZERO] = "zero",
    [SP_VECTOR_RANGE] = "out_of_range",
    [SP_VECTOR_UNKNOWN] = "unknown_token",
    [SP_VECTOR_EMPTY] = "empty",
};
/* The faults that no repair makes good. */
static const unsigned REFUSED =
    1u << SP_VECTOR_NAN | 1u << SP_VECTOR_NEGATIVE | 1u << SP_VECTOR_RANGE;

const char *sp_vector_fault_name(sp_vector_fault fault) {
  assert((unsigned)fault < SP_VECTOR_N_FAULTS);
  return FAULTS[fault];
}

bool sp_vector_fault_refused(sp_vector_fault fault) {
  assert((unsigned)fault < SP_VECTOR_N_FAULTS);
  return REFUSED & 1u << fault;
}

/* --- reading --- */

static sp_err unrecognised(const char *path) {
  return sp_fail(SP_EFORMAT,
                 "%s: neither a compact vector file, nor JSON lines, nor a csr matrix",
                 path);
}

/* Standard input cannot be read twice, but one byte can be put back: it tells a compact
 * file from JSON. */
static sp_err recognise_pipe(const char *path, sp_vector_format *out) {
  int c = getc(stdin);
  if (c == EOF) return sp_fail(SP_EFORMAT, "standard input: no vectors in it");
  ungetc(c, stdin);
  if (c == 'S')
    *out = SP_VECTORS_COMPACT;
  else if (c == '{' || c == '\n' || c == '\r' || c == ' ' || c == '\t')
    *out = SP_VECTORS_JSONL;
  else
    return sp_fail(SP_EFORMAT,
                   "standard input: neither a compact vector file nor JSON lines (csr is "
                   "read from files only)");
  (void)path;
  return SP_OK;
}

static sp_err recognise(const char *path, sp_vector_format *out) {
  if (strcmp(path, "-") == 0) return recognise_pipe(path, out);
  FILE *f = fopen(path, "rbe");
  struct stat st;
  if (!f || fstat(fileno(f), &st)) {
    sp_err err = sp_fail_errno(errno, "%s", path);
    if (f) fclose(f);
    return err;
  }
  uint8_t head[SP_CSR_HEAD_BYTES];
  size_t n = fread(head, 1, sizeof head, f);
  int failed = ferror(f) ? errno : 0;
  fclose(f);
  if (failed) return sp_fail_errno(failed, "%s", path);
  if (n == 0) return sp_fail(SP_EFORMAT, "%s: empty, no vectors in it", path);

  size_t blanks = 0;
  while (blanks < n && (head[blanks] == ' ' || head[blanks] == '\t' ||
                        head[blanks] == '\n' || head[blanks] == '\r'))
    blanks++;
  if (n >= 8 && memcmp(head, "SPVECTOR", 8) == 0)
    *out = SP_VECTORS_COMPACT;
  else if (n == sizeof head && sp_vector_csr_fits(head, (uint64_t)st.st_size))
    *out = SP_VECTORS_CSR;
  else if (blanks == n || head[blanks] == '{')
    *out = SP_VECTORS_JSONL;
  else
    return unrecognised(path);
  return SP_OK;
}

static sp_err open_format(sp_vector_reader *r) {
  if (r->format == SP_VECTORS_AUTO) {
    sp_err err = recognise(r->path, &r->format);
    if (err) return err;
  }
  switch (r->format) {
    case SP_VECTORS_COMPACT:
      return sp_vector_compact_open(r);
    case SP_VECTORS_CSR:
      return sp_vector_csr_open(r);
    default:
      return sp_vector_text_open(r);
  }
}

sp_err sp_vector_reader_open(const char *path, const sp_vector_read_options *options,
                             sp_vector_reader **out) {
  *out = NULL;
  sp_vector_reader *r = calloc(1, sizeof *r);
  if (!r) return sp_fail(SP_ENOMEM, "%s: out of memory", path);
  if (options) r->options = *options;
  if (r->options.scale == 0) r->options.scale = 1;
  r->format = r->options.format;
  r->unit = "record";
  r->path = strdup(path);
  sp_err err = r->path ? SP_OK : sp_fail(SP_ENOMEM, "%s: out of memory", path);
  if (!err && !(r->options.scale > 0 && isfinite(r->options.scale)))
    err = sp_fail(SP_EINVAL, "a scale of %g: it must be above 0", r->options.scale);
  if (!err) err = open_format(r);
  if (err) {
    sp_vector_reader_close(r);
    return err;
  }
  *out = r;
  return SP_OK;
}

void sp_vector_reader_close(sp_vector_reader *r) {
  if (!r) return;
  if (r->ops) r->ops->close(r);
  sp_strmap_free(r->vocabulary);
  sp_vec_free(&r->vec);
  sp_buf_free(&r->id);
  sp_buf_free(&r->text);
  free(r->path);
  free(r);
}

/* Marks refused entries, drops zeros, sorts and sums; sets r->faults. */
static void repair(sp_vector_reader *r) {
  sp_vec *v = &r->vec;
  float scale = r->options.scale;
  bool ascending = true, strictly = true;
  uint32_t kept = 0, n = v->n;
  for (uint32_t i = 0; i < n; i++) {
    uint32_t term = v->terms[i];
    float w = v->weights[i] * scale;
    if (!isfinite(w)) r->faults |= 1u << SP_VECTOR_NAN;
    if (w < 0) r->faults |= 1u << SP_VECTOR_NEGATIVE;
    if (term == UINT32_MAX || (r->n_terms && term >= r->n_terms) ||
        (r->options.n_terms && term >= r->options.n_terms))
      r->faults |= 1u << SP_VECTOR_RANGE;
    if (i) {
      ascending = ascending && v->terms[i - 1] <= term;
      strictly = strictly && v->terms[i - 1] < term;
    }
    if (w == 0) r->faults |= 1u << SP_VECTOR_ZERO;
    v->weights[i] = w;
  }
  if (r->ordered && !ascending) r->faults |= 1u << SP_VECTOR_UNSORTED;
  if (r->faults & REFUSED) return;
  if (!(r->faults & 1u << SP_VECTOR_ZERO) && strictly) return;

  for (uint32_t i = 0; i < n; i++) { /* strictly is about terms that are left out too */
    if (v->weights[i] == 0) continue;
    v->terms[kept] = v->terms[i];
    v->weights[kept++] = v->weights[i];
  }
  v->n = kept;
  sp_vec_normalize(v);
  if (v->n == kept) return;
  r->faults |= 1u << SP_VECTOR_DUPLICATE;
  for (uint32_t i = 0; i < v->n; i++) /* the sum of two large floats */
    if (!isfinite(v->weights[i])) r->faults |= 1u << SP_VECTOR_NAN;
}

static void count_faults(sp_vector_reader *r) {
  sp_vector_report *report = &r->report;
  for (int f = 0; f < SP_VECTOR_N_FAULTS; f++) {
    if (!(r->faults & 1u << f) || report->faults[f].n++) continue;
    report->faults[f].record = r->report.n_read;
    snprintf(report->faults[f].id, sizeof report->faults[f].id, "%s", r->id.data);
  }
}

static sp_err refuse(const sp_vector_reader *r) {
  static const char *const WHAT[SP_VECTOR_N_FAULTS] = {
      [SP_VECTOR_NAN] = "a weight that is NaN or infinite",
      [SP_VECTOR_NEGATIVE] = "a weight below 0",
      [SP_VECTOR_RANGE] = "a term out of range",
  };
  int f = 0;
  while (!(r->faults & REFUSED & 1u << f)) f++;
  uint32_t bound = r->options.n_terms ? r->options.n_terms : r->n_terms;
  char expected[128] = "";
  if (f == SP_VECTOR_RANGE && bound)
    snprintf(expected, sizeof expected, ", expected terms below %u", bound);
  else if (f == SP_VECTOR_RANGE && r->options.numeric_tokens)
    snprintf(expected, sizeof expected,
             ", expected numbers: 'spindle convert --tokenizer' makes them of tokens");
  return sp_fail(SP_EFORMAT, "%s: %s %llu (id '%.64s'): %s%s", r->path, r->unit,
                 (unsigned long long)r->place, r->id.data, WHAT[f], expected);
}

static void pass_on(sp_vector_reader *r, sp_vector_record *out) {
  sp_vector_report *report = &r->report;
  const sp_vec *v = &r->vec;
  report->n_entries += v->n;
  if (v->n > report->max_entries) report->max_entries = v->n;
  if (v->n && v->terms[v->n - 1] >= report->n_terms)
    report->n_terms = v->terms[v->n - 1] + 1;
  *out = (sp_vector_record){.id = r->id.data, .id_n = r->id.n, .vec = v};
  if (!r->has_text) return;
  out->text = r->text.data;
  out->text_n = r->text.n;
}

sp_err sp_vector_reader_next(sp_vector_reader *r, sp_vector_record *out, bool *more) {
  for (;;) {
    r->faults = 0;
    r->has_text = false;
    sp_vec_clear(&r->vec);
    sp_buf_clear(&r->id);
    sp_buf_clear(&r->text);
    sp_err err = r->ops->next(r, more);
    if (err || !*more) return err;
    /* An empty string is a string too: what is borrowed must never be NULL. */
    if ((err = sp_buf_append(&r->id, "", 0))) return err;
    if ((err = sp_buf_append(&r->text, "", 0))) return err;
    r->report.n_read++;
    if (!r->checked || r->options.scale != 1 || r->options.n_terms) repair(r);
    if (r->vec.n == 0) r->faults |= 1u << SP_VECTOR_EMPTY;
    if (r->faults) count_faults(r);
    if (!(r->faults & REFUSED)) break;
    if (!r->options.skip_refused) return refuse(r);
    r->report.n_skipped++;
  }
  pass_on(r, out);
  return SP_OK;
}

sp_vector_format sp_vector_reader_format(const sp_vector_reader *r) {
  return r->format;
}

uint32_t sp_vector_reader_n_terms(const sp_vector_reader *r) {
  return r->vocabulary ? sp_strmap_count(r->vocabulary) : r->n_terms;
}

uint64_t sp_vector_reader_n_vectors(const sp_vector_reader *r) {
  return r->n_vectors;
}

const sp_vector_report *sp_vector_reader_report(const sp_vector_reader *r) {
  return &r->report;
}

const sp_strmap *sp_vector_reader_vocabulary(const sp_vector_reader *r) {
  return r->vocabulary;
}

/* --- writing --- */

static bool ends_with(const char *path, const char *suffix) {
  size_t n = strlen(path), m = strlen(suffix);
  return n >= m && strcmp(path + n - m, suffix) == 0;
}

static sp_err format_of_name(const char *path, sp_vector_format *out) {
  if (ends_with(path, ".spv"))
    *out = SP_VECTORS_COMPACT;
  else if (ends_with(path, ".csr"))
    *out = SP_VECTORS_CSR;
  else if (ends_with(path, ".jsonl") || strcmp(path, "-") == 0)
    *out = SP_VECTORS_JSONL;
  else
    return sp_fail(SP_EINVAL,
                   "%s: the name does not tell the vector format (.spv, .csr or .jsonl): "
                   "name it",
                   path);
  return SP_OK;
}

static sp_err create_format(sp_vector_writer *w) {
  sp_vector_write_options *o = &w->options;
  if (o->format == SP_VECTORS_AUTO) {
    sp_err err = format_of_name(w->path, &o->format);
    if (err) return err;
  }
  bool pipe = strcmp(w->path, "-") == 0;
  if (o->resumable && (o->format != SP_VECTORS_COMPACT || pipe))
    return sp_fail(SP_EINVAL, "%s: only a compact vector file can be continued", w->path);
  if (o->format == SP_VECTORS_CSR && pipe)
    return sp_fail(SP_EINVAL,
                   "a csr matrix needs a file: its sizes are known at the end");
  switch (o->format) {
    case SP_VECTORS_COMPACT:
      return sp_vector_compact_create(w);
    case SP_VECTORS_CSR:
      return sp_vector_csr_create(w);
    default:
      return sp_vector_text_create(w);
  }
}

sp_err sp_vector_writer_open(const char *path, const sp_vector_write_options *options,
                             sp_vector_writer **out) {
  *out = NULL;
  sp_vector_writer *w = calloc(1, sizeof *w);
  if (!w) return sp_fail(SP_ENOMEM, "%s: out of memory", path);
  if (options) w->options = *options;
  w->path = strdup(path);
  sp_err err = w->path ? create_format(w) : sp_fail(SP_ENOMEM, "%s: out of memory", path);
  if (err) {
    sp_vector_writer_abort(w);
    return err;
  }
  *out = w;
  return SP_OK;
}

uint64_t sp_vector_writer_n_vectors(const sp_vector_writer *w) {
  return w->n_vectors;
}

sp_err sp_vector_writer_put(sp_vector_writer *w, const char *id, size_t id_n,
                            const sp_vec *vec, const char *text, size_t text_n) {
  if (id_n > 65535)
    return sp_fail(SP_EINVAL, "%s: an id of %zu bytes, at most 65535 can be written",
                   w->path, id_n);
  uint32_t n_terms = vec->n ? vec->terms[vec->n - 1] + 1 : 0;
  if (w->options.n_terms && n_terms > w->options.n_terms)
    return sp_fail(SP_EINVAL, "%s: id '%.*s': term %u, expected terms below %u", w->path,
                   (int)(id_n < 64 ? id_n : 64), id, n_terms - 1, w->options.n_terms);
  sp_err err = w->ops->put(w, id, id_n, vec, text, text_n);
  if (err) return err;
  if (n_terms > w->n_terms) w->n_terms = n_terms;
  w->n_vectors++;
  w->n_entries += vec->n;
  return SP_OK;
}

sp_err sp_vector_writer_sync(sp_vector_writer *w) {
  return w->ops->sync ? w->ops->sync(w) : SP_OK;
}

sp_err sp_vector_writer_finish(sp_vector_writer *w) {
  sp_err err = w->ops->finish(w);
  sp_vector_writer_abort(w);
  return err;
}

void sp_vector_writer_abort(sp_vector_writer *w) {
  if (!w) return;
  if (w->ops) w->ops->close(w);
  free(w->path);
  free(w);
}
