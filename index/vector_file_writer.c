/* index/vector_file_writer.c - writing compact vector files, and going on with one. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "index/vector_block.h"
#include "index/vector_ops.h"

/* A block is full when it holds this much: some hundred KiB, so that a reader's memory is
 * small and a crash loses little, while heads and checksums cost nothing. */
enum { FULL_ENTRIES = 1 << 16, FULL_VECTORS = 1 << 12, FULL_ID_BYTES = 1 << 19 };

typedef struct compact_writer {
  sp_out out; /* unused when resumable */
  FILE *f;    /* where the bytes go */
  /* the block that grows */
  sp_vec entries; /* of all its vectors; not sorted */
  sp_buf ids;
  uint32_t counts[FULL_VECTORS], id_ends[FULL_VECTORS], n_vectors;
  uint32_t n_terms; /* of this block */
  uint64_t first;
  sp_buf bytes;
} compact_writer;

static sp_err write_bytes(sp_vector_writer *w, const void *data, size_t n) {
  compact_writer *c = w->state;
  if (fwrite(data, 1, n, c->f) == n) return SP_OK;
  return sp_fail_errno(errno, "%s: cannot write", w->path);
}

/* Writes the growing block, if there is anything in it, and begins the next. */
static sp_err end_block(sp_vector_writer *w) {
  compact_writer *c = w->state;
  if (c->n_vectors == 0) return SP_OK;
  const sp_vf_parts parts = {.first = c->first,
                             .n_vectors = c->n_vectors,
                             .n_entries = c->entries.n,
                             .n_terms = c->n_terms,
                             .counts = c->counts,
                             .id_ends = c->id_ends,
                             .terms = c->entries.terms,
                             .weights = c->entries.weights,
                             .ids = c->ids.data,
                             .ids_bytes = (uint32_t)c->ids.n};
  sp_err err = sp_vf_block_write(&parts, &c->bytes);
  if (!err) err = write_bytes(w, c->bytes.data, c->bytes.n);
  if (err) return err;
  if (w->options.resumable && fflush(c->f)) /* a killed writer leaves whole blocks */
    return sp_fail_errno(errno, "%s: cannot write", w->path);
  c->first += c->n_vectors;
  c->n_vectors = 0;
  c->n_terms = 0;
  sp_vec_clear(&c->entries);
  sp_buf_clear(&c->ids);
  return SP_OK;
}

static sp_err compact_put(sp_vector_writer *w, const char *id, size_t id_n,
                          const sp_vec *vec, const char *text, size_t text_n) {
  (void)text, (void)text_n;
  compact_writer *c = w->state;
  if (vec->n > SP_VF_MAX_ENTRIES)
    return sp_fail(SP_EINVAL, "%s: a vector of %u entries, at most %d can be written",
                   w->path, vec->n, SP_VF_MAX_ENTRIES);
  sp_err err = SP_OK;
  if (c->n_vectors && c->entries.n + (uint64_t)vec->n > FULL_ENTRIES) err = end_block(w);
  uint32_t n = c->entries.n;
  if (!err) err = sp_vec_reserve(&c->entries, n + vec->n);
  if (!err) err = sp_buf_append(&c->ids, id, id_n);
  if (err) return err;
  if (vec->n) {
    memcpy(c->entries.terms + n, vec->terms, vec->n * sizeof *vec->terms);
    memcpy(c->entries.weights + n, vec->weights, vec->n * sizeof *vec->weights);
    uint32_t n_terms = vec->terms[vec->n - 1] + 1;
    if (n_terms > c->n_terms) c->n_terms = n_terms;
  }
  c->entries.n += vec->n;
  c->counts[c->n_vectors] = vec->n;
  c->id_ends[c->n_vectors++] = (uint32_t)c->ids.n;
  bool full = c->n_vectors == FULL_VECTORS || c->entries.n >= FULL_ENTRIES ||
              c->ids.n >= FULL_ID_BYTES;
  return full ? end_block(w) : SP_OK;
}

static sp_err compact_sync(sp_vector_writer *w) {
  if (!w->options.resumable) return SP_OK;
  compact_writer *c = w->state;
  sp_err err = end_block(w);
  if (err) return err;
  if (fdatasync(fileno(c->f))) return sp_fail_errno(errno, "%s: cannot write", w->path);
  return SP_OK;
}

static sp_err compact_finish(sp_vector_writer *w) {
  compact_writer *c = w->state;
  sp_err err = end_block(w);
  uint8_t end[SP_VF_HEAD_BYTES];
  /* What a former writer left may go beyond the caller's bound. */
  uint32_t n_terms = w->options.n_terms > w->n_terms ? w->options.n_terms : w->n_terms;
  sp_vf_end_write(w->n_vectors, w->n_entries, n_terms, end);
  if (!err) err = write_bytes(w, end, sizeof end);
  if (err) return err;
  if (!w->options.resumable) {
    c->f = NULL;
    return sp_out_commit(&c->out);
  }
  if (fflush(c->f) || fdatasync(fileno(c->f)))
    return sp_fail_errno(errno, "%s: cannot write", w->path);
  return SP_OK;
}

static void compact_close(sp_vector_writer *w) {
  compact_writer *c = w->state;
  if (!c) return;
  if (w->options.resumable && c->f) fclose(c->f);
  sp_out_abort(&c->out);
  sp_vec_free(&c->entries);
  sp_buf_free(&c->ids);
  sp_buf_free(&c->bytes);
  free(c);
}

static const sp_vector_writer_ops COMPACT_WRITER = {compact_put, compact_sync,
                                                    compact_finish, compact_close};

/* --- going on with a file --- */

/* Reads the block or end mark at the stream's position. *fault is what keeps it from
 * being whole. */
static sp_err read_block(FILE *f, const char *path, sp_vector_block *b, sp_vf_head *h,
                         uint64_t room, const char **fault) {
  uint8_t bytes[SP_VF_HEAD_BYTES];
  *fault = "cut short";
  if (room < sizeof bytes) return SP_OK;
  if (fread(bytes, 1, sizeof bytes, f) != sizeof bytes) goto failed;
  *fault = sp_vf_head_read(bytes, h);
  if (*fault || h->end) return SP_OK;
  *fault = "cut short";
  if (h->body_bytes > room - sizeof bytes) return SP_OK;
  sp_err err = sp_vf_block_reserve(b, h->body_bytes);
  if (err) return err;
  memcpy(b->data, bytes, SP_VF_SUMMED_BYTES);
  if (fread(b->data + SP_VF_SUMMED_BYTES, 1, (size_t)h->body_bytes, f) != h->body_bytes)
    goto failed;
  return sp_vf_block_settle(b, bytes, h, fault);
failed:
  return sp_fail_errno(ferror(f) ? errno : EIO, "%s: cannot read", path);
}

/* Counts the whole blocks and finds where they end. What follows them in a file without
 * end mark is debris of a crash; in a finished one it is damage, and nothing is touched.
 */
static sp_err find_end(sp_vector_writer *w, uint64_t file_bytes, uint64_t *end) {
  compact_writer *c = w->state;
  sp_vector_block b = {0};
  sp_err err = SP_OK;
  uint8_t tail[SP_VF_HEAD_BYTES];
  bool finished = false;
  sp_vf_head h;
  if (file_bytes >= SP_VF_HEADER_BYTES + sizeof tail &&
      pread(fileno(c->f), tail, sizeof tail, (off_t)(file_bytes - sizeof tail)) ==
          (ssize_t)sizeof tail)
    finished = !sp_vf_head_read(tail, &h) && h.end;
  uint64_t at = SP_VF_HEADER_BYTES;
  for (;;) {
    const char *fault;
    err = read_block(c->f, w->path, &b, &h, file_bytes - at, &fault);
    if (err) break;
    if (!fault && !h.end && h.first != w->n_vectors) fault = "a block out of order";
    if (fault && finished)
      err = sp_fail(SP_EFORMAT, "%s: at byte %llu: %s", w->path, (unsigned long long)at,
                    fault);
    if (fault || h.end) break;
    at += SP_VF_HEAD_BYTES + h.body_bytes;
    w->n_vectors += h.n_vectors;
    w->n_entries += h.n_entries;
    if (h.n_terms > w->n_terms) w->n_terms = h.n_terms;
  }
  sp_vector_block_free(&b);
  *end = at;
  return err;
}

static sp_err write_header(sp_vector_writer *w) {
  uint8_t header[SP_VF_HEADER_BYTES];
  sp_vf_header_write(header);
  return write_bytes(w, header, sizeof header);
}

/* Checks the header. A file that ends within a sound header is begun anew; anything else
 * may be somebody's work and is left alone. */
static sp_err check_header(sp_vector_writer *w, bool *fresh) {
  compact_writer *c = w->state;
  uint8_t sound[SP_VF_HEADER_BYTES], found[SP_VF_HEADER_BYTES];
  sp_vf_header_write(sound);
  size_t n = fread(found, 1, sizeof found, c->f);
  if (ferror(c->f)) return sp_fail_errno(errno, "%s: cannot read", w->path);
  *fresh = n < sizeof found;
  if (!*fresh) return sp_vf_header_check(found, w->path);
  if (memcmp(found, sound, n) == 0) return SP_OK;
  return sp_fail(SP_EFORMAT, "%s: not a compact vector file", w->path);
}

static sp_err resume(sp_vector_writer *w) {
  compact_writer *c = w->state;
  int fd = open(w->path, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
  if (fd < 0) return sp_fail_errno(errno, "%s: cannot write", w->path);
  c->f = fdopen(fd, "r+b");
  if (!c->f) {
    close(fd);
    return sp_fail(SP_ENOMEM, "%s: out of memory", w->path);
  }
  if (flock(fd, LOCK_EX | LOCK_NB))
    return sp_fail(SP_EBUSY, "%s: another writer has it open", w->path);
  struct stat st;
  if (fstat(fd, &st)) return sp_fail_errno(errno, "%s", w->path);
  bool fresh;
  uint64_t end = 0;
  sp_err err = check_header(w, &fresh);
  if (!err && !fresh) err = find_end(w, (uint64_t)st.st_size, &end);
  if (err) return err;
  if (ftruncate(fd, (off_t)end) || fseeko(c->f, (off_t)end, SEEK_SET))
    return sp_fail_errno(errno, "%s: cannot write", w->path);
  c->first = w->n_vectors;
  if (!fresh) return SP_OK;
  if ((err = write_header(w))) return err;
  return fflush(c->f) ? sp_fail_errno(errno, "%s: cannot write", w->path) : SP_OK;
}

sp_err sp_vector_compact_create(sp_vector_writer *w) {
  compact_writer *c = calloc(1, sizeof *c);
  if (!c) return sp_fail(SP_ENOMEM, "%s: out of memory", w->path);
  w->ops = &COMPACT_WRITER;
  w->state = c;
  if (w->options.resumable) return resume(w);
  sp_err err = sp_out_open(w->path, &c->out);
  if (err) return err;
  c->f = c->out.f;
  return write_header(w);
}
