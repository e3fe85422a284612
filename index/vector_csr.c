/* index/vector_csr.c - BigANN's sparse matrices: three arrays behind a header of three
 * numbers, read side by side. The layout stands in index/vector_io.h. */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "index/vector_ops.h"

typedef struct csr_head {
  int64_t rows, columns, entries;
} csr_head;

_Static_assert(sizeof(csr_head) == SP_CSR_HEAD_BYTES, "three int64 without gaps");

/* The file's size as its header claims it; 0 when the header is impossible. */
static uint64_t claimed_bytes(const csr_head *h) {
  const int64_t most = INT64_MAX / 32; /* so that nothing below overflows */
  if (h->rows < 0 || h->entries < 0 || h->rows > most || h->entries > most) return 0;
  if (h->columns < 0 || h->columns > (int64_t)INT32_MAX + 1) return 0;
  if (h->entries && (h->rows == 0 || h->columns == 0)) return 0;
  return SP_CSR_HEAD_BYTES + 8 * ((uint64_t)h->rows + 1) + 8 * (uint64_t)h->entries;
}

bool sp_vector_csr_fits(const uint8_t head[SP_CSR_HEAD_BYTES], uint64_t file_bytes) {
  csr_head h;
  memcpy(&h, head, sizeof h);
  return claimed_bytes(&h) == file_bytes;
}

/* --- reading --- */

typedef struct csr_reader {
  FILE *starts, *terms, *weights; /* three positions in one file */
  csr_head head;
  int64_t row, start; /* of the next vector */
} csr_reader;

static sp_err cannot_read(const sp_vector_reader *r, FILE *f) {
  if (ferror(f)) return sp_fail_errno(errno ? errno : EIO, "%s", r->path);
  return sp_fail(SP_EFORMAT, "%s: the file shrank while it was read", r->path);
}

static sp_err csr_next(sp_vector_reader *r, bool *more) {
  csr_reader *c = r->state;
  *more = c->row < c->head.rows;
  if (!*more) return SP_OK;
  int64_t end;
  if (fread(&end, sizeof end, 1, c->starts) != 1) return cannot_read(r, c->starts);
  bool last = c->row + 1 == c->head.rows;
  if (end < c->start || end > c->head.entries || (last && end != c->head.entries) ||
      end - c->start >= UINT32_MAX)
    return sp_fail(
        SP_EFORMAT,
        "%s: row %" PRId64 " ends at entry %" PRId64 ", expected %" PRId64 " to %" PRId64,
        r->path, c->row, end, last ? c->head.entries : c->start, c->head.entries);
  uint32_t n = (uint32_t)(end - c->start);
  sp_err err = sp_vec_reserve(&r->vec, n);
  if (!err) err = sp_buf_printf(&r->id, "%" PRId64, c->row);
  if (err) return err;
  /* A negative term is a huge one as an unsigned number, and so out of range. */
  if (n && fread(r->vec.terms, sizeof *r->vec.terms, n, c->terms) != n)
    return cannot_read(r, c->terms);
  if (n && fread(r->vec.weights, sizeof *r->vec.weights, n, c->weights) != n)
    return cannot_read(r, c->weights);
  r->vec.n = n;
  r->ordered = true;
  c->start = end;
  r->place = (uint64_t)++c->row;
  return SP_OK;
}

static void csr_close(sp_vector_reader *r) {
  csr_reader *c = r->state;
  if (!c) return;
  if (c->starts) fclose(c->starts);
  if (c->terms) fclose(c->terms);
  if (c->weights) fclose(c->weights);
  free(c);
}

static const sp_vector_reader_ops CSR_READER = {csr_next, csr_close};

static sp_err open_at(const sp_vector_reader *r, uint64_t offset, FILE **out) {
  *out = fopen(r->path, "rbe");
  if (!*out || fseeko(*out, (off_t)offset, SEEK_SET))
    return sp_fail_errno(errno, "%s", r->path);
  return SP_OK;
}

static sp_err read_head(sp_vector_reader *r) {
  csr_reader *c = r->state;
  sp_err err = open_at(r, 0, &c->starts);
  if (err) return err;
  struct stat st;
  if (fstat(fileno(c->starts), &st)) return sp_fail_errno(errno, "%s", r->path);
  int64_t first;
  if (fread(&c->head, sizeof c->head, 1, c->starts) != 1 ||
      fread(&first, sizeof first, 1, c->starts) != 1)
    return sp_fail(SP_EFORMAT, "%s: not a csr matrix: only %lld bytes", r->path,
                   (long long)st.st_size);
  uint64_t claimed = claimed_bytes(&c->head);
  if (claimed != (uint64_t)st.st_size)
    return sp_fail(SP_EFORMAT,
                   "%s: not a csr matrix: %" PRId64 " rows, %" PRId64
                   " columns and %" PRId64 " entries do not make %lld bytes",
                   r->path, c->head.rows, c->head.columns, c->head.entries,
                   (long long)st.st_size);
  if (first != 0)
    return sp_fail(SP_EFORMAT, "%s: row 0 begins at entry %" PRId64 ", expected 0",
                   r->path, first);
  return SP_OK;
}

sp_err sp_vector_csr_open(sp_vector_reader *r) {
  if (strcmp(r->path, "-") == 0)
    return sp_fail(SP_EINVAL, "a csr matrix is read from a file, not from a pipe");
  csr_reader *c = calloc(1, sizeof *c);
  if (!c) return sp_fail(SP_ENOMEM, "%s: out of memory", r->path);
  r->ops = &CSR_READER;
  r->state = c;
  sp_err err = read_head(r);
  if (err) return err;
  uint64_t terms = SP_CSR_HEAD_BYTES + 8 * ((uint64_t)c->head.rows + 1);
  err = open_at(r, terms, &c->terms);
  if (!err) err = open_at(r, terms + 4 * (uint64_t)c->head.entries, &c->weights);
  r->n_vectors = (uint64_t)c->head.rows;
  r->n_terms = (uint32_t)c->head.columns;
  return err;
}

/* --- writing --- */

/* The sizes come first in the file but are known last: the starts are written as they
 * come, terms and weights wait in files without name beside it. */
typedef struct csr_writer {
  sp_out out;
  FILE *terms, *weights;
} csr_writer;

static sp_err cannot_write(const sp_vector_writer *w) {
  return sp_fail_errno(errno, "%s: cannot write", w->path);
}

static sp_err csr_put(sp_vector_writer *w, const char *id, size_t id_n, const sp_vec *vec,
                      const char *text, size_t text_n) {
  (void)id, (void)id_n, (void)text, (void)text_n;
  csr_writer *c = w->state;
  if (vec->n && vec->terms[vec->n - 1] > INT32_MAX)
    return sp_fail(SP_EINVAL, "%s: term %u, at most %d can be written", w->path,
                   vec->terms[vec->n - 1], INT32_MAX);
  int64_t end = (int64_t)(w->n_entries + vec->n);
  if (fwrite(&end, sizeof end, 1, c->out.f) != 1) return cannot_write(w);
  if (vec->n == 0) return SP_OK;
  if (fwrite(vec->terms, sizeof *vec->terms, vec->n, c->terms) != vec->n ||
      fwrite(vec->weights, sizeof *vec->weights, vec->n, c->weights) != vec->n)
    return cannot_write(w);
  return SP_OK;
}

static sp_err append_file(sp_vector_writer *w, FILE *from) {
  csr_writer *c = w->state;
  char bytes[1 << 14];
  if (fflush(from) || fseeko(from, 0, SEEK_SET)) return cannot_write(w);
  for (size_t n; (n = fread(bytes, 1, sizeof bytes, from)) > 0;)
    if (fwrite(bytes, 1, n, c->out.f) != n) return cannot_write(w);
  return ferror(from) ? cannot_write(w) : SP_OK;
}

static sp_err csr_finish(sp_vector_writer *w) {
  csr_writer *c = w->state;
  uint32_t columns = w->options.n_terms ? w->options.n_terms : w->n_terms;
  const csr_head h = {(int64_t)w->n_vectors, columns, (int64_t)w->n_entries};
  sp_err err = append_file(w, c->terms);
  if (!err) err = append_file(w, c->weights);
  if (err) return err;
  if (fseeko(c->out.f, 0, SEEK_SET) || fwrite(&h, sizeof h, 1, c->out.f) != 1)
    return cannot_write(w);
  return sp_out_commit(&c->out);
}

static void csr_writer_close(sp_vector_writer *w) {
  csr_writer *c = w->state;
  if (!c) return;
  sp_out_abort(&c->out);
  if (c->terms) fclose(c->terms);
  if (c->weights) fclose(c->weights);
  free(c);
}

static const sp_vector_writer_ops CSR_WRITER = {csr_put, NULL, csr_finish,
                                                csr_writer_close};

/* Not tmpfile(): /tmp may be too small for a matrix. */
static sp_err open_unnamed(const sp_vector_writer *w, const char *what, FILE **out) {
  char *path;
  if (asprintf(&path, "%s.tmp-%ld-%s", w->path, (long)getpid(), what) < 0)
    return sp_fail(SP_ENOMEM, "%s: out of memory", w->path);
  *out = fopen(path, "w+be");
  sp_err err = *out ? SP_OK : cannot_write(w);
  if (*out) unlink(path);
  free(path);
  return err;
}

sp_err sp_vector_csr_create(sp_vector_writer *w) {
  csr_writer *c = calloc(1, sizeof *c);
  if (!c) return sp_fail(SP_ENOMEM, "%s: out of memory", w->path);
  w->ops = &CSR_WRITER;
  w->state = c;
  sp_err err = sp_out_open(w->path, &c->out);
  if (!err) err = open_unnamed(w, "terms", &c->terms);
  if (!err) err = open_unnamed(w, "weights", &c->weights);
  if (err) return err;
  const csr_head head = {0}; /* its place; filled by finish */
  const int64_t start = 0;
  if (fwrite(&head, sizeof head, 1, c->out.f) != 1 ||
      fwrite(&start, sizeof start, 1, c->out.f) != 1)
    return cannot_write(w);
  return SP_OK;
}
