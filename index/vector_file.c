/* index/vector_file.c - reading compact vector files: by block, and one after the other.
 */
#include "index/vector_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "index/vector_block.h"
#include "index/vector_ops.h"

struct sp_vector_file {
  int fd;
  char *path;
  sp_vector_file_info info;
  uint64_t *offsets; /* [n_blocks] of the heads */
  size_t cap;
};

/* Reads up to n bytes at `offset`; *got is less only at the end of the file. */
static sp_err read_at(int fd, const char *path, void *out, size_t n, uint64_t offset,
                      size_t *got) {
  *got = 0;
  while (*got < n) {
    ssize_t r = pread(fd, (char *)out + *got, n - *got, (off_t)(offset + *got));
    if (r < 0 && errno == EINTR) continue;
    if (r < 0) return sp_fail_errno(errno, "%s", path);
    if (r == 0) break;
    *got += (size_t)r;
  }
  return SP_OK;
}

static sp_err damaged(const char *path, uint64_t offset, const char *fault) {
  return sp_fail(SP_EFORMAT, "%s: at byte %llu: %s", path, (unsigned long long)offset,
                 fault);
}

/* --- by block --- */

static sp_err add_block(sp_vector_file *f, uint64_t offset, const sp_vf_head *h) {
  if (f->info.n_blocks == f->cap) {
    size_t cap = f->cap ? f->cap * 2 : 64;
    uint64_t *offsets = realloc(f->offsets, cap * sizeof *offsets);
    if (!offsets)
      return sp_fail(SP_ENOMEM, "%s: %zu blocks: out of memory", f->path, cap);
    f->offsets = offsets;
    f->cap = cap;
  }
  f->offsets[f->info.n_blocks++] = offset;
  f->info.n_vectors += h->n_vectors;
  f->info.n_entries += h->n_entries;
  if (h->n_terms > f->info.n_terms) f->info.n_terms = h->n_terms;
  return SP_OK;
}

/* The end mark at `offset`. */
static sp_err take_end(sp_vector_file *f, uint64_t offset, uint64_t file_bytes,
                       const sp_vf_head *h) {
  if (h->first != f->info.n_vectors || h->all_entries != f->info.n_entries ||
      h->n_terms < f->info.n_terms)
    return damaged(f->path, offset, "the end mark's counts are not those of the blocks");
  if (file_bytes - offset != SP_VF_HEAD_BYTES)
    return damaged(f->path, offset + SP_VF_HEAD_BYTES, "bytes behind the end mark");
  f->info.n_terms = h->n_terms;
  f->info.finished = true;
  return SP_OK;
}

/* The head at `offset`, as bytes and taken apart; *fault is what is wrong with it. */
static sp_err read_head(const sp_vector_file *f, uint64_t offset,
                        uint8_t bytes[SP_VF_HEAD_BYTES], sp_vf_head *h,
                        const char **fault) {
  size_t got;
  sp_err err = read_at(f->fd, f->path, bytes, SP_VF_HEAD_BYTES, offset, &got);
  if (err) return err;
  *fault = got < SP_VF_HEAD_BYTES ? "the file shrank while it was read"
                                  : sp_vf_head_read(bytes, h);
  return SP_OK;
}

static sp_err walk(sp_vector_file *f, uint64_t file_bytes) {
  uint64_t offset = SP_VF_HEADER_BYTES;
  while (file_bytes - offset >= SP_VF_HEAD_BYTES) {
    uint8_t bytes[SP_VF_HEAD_BYTES];
    sp_vf_head h;
    const char *fault;
    sp_err err = read_head(f, offset, bytes, &h, &fault);
    if (err) return err;
    if (!fault && !h.end && h.first != f->info.n_vectors) fault = "a block out of order";
    if (fault) return damaged(f->path, offset, fault);
    if (h.end) return take_end(f, offset, file_bytes, &h);
    if (h.body_bytes > file_bytes - offset - SP_VF_HEAD_BYTES) return SP_OK; /* cut */
    if ((err = add_block(f, offset, &h))) return err;
    offset += SP_VF_HEAD_BYTES + h.body_bytes;
  }
  return SP_OK;
}

static sp_err open_and_walk(sp_vector_file *f) {
  f->fd = open(f->path, O_RDONLY | O_CLOEXEC);
  struct stat st;
  if (f->fd < 0 || fstat(f->fd, &st)) return sp_fail_errno(errno, "%s", f->path);
  uint8_t header[SP_VF_HEADER_BYTES];
  size_t got;
  sp_err err = read_at(f->fd, f->path, header, sizeof header, 0, &got);
  if (err) return err;
  if (got < sizeof header)
    return sp_fail(SP_EFORMAT, "%s: not a compact vector file: only %zu bytes", f->path,
                   got);
  if ((err = sp_vf_header_check(header, f->path))) return err;
  return walk(f, (uint64_t)st.st_size);
}

sp_err sp_vector_file_open(const char *path, sp_vector_file **out) {
  *out = NULL;
  sp_vector_file *f = calloc(1, sizeof *f);
  if (!f) return sp_fail(SP_ENOMEM, "%s: out of memory", path);
  f->fd = -1;
  f->path = strdup(path);
  sp_err err = f->path ? open_and_walk(f) : sp_fail(SP_ENOMEM, "%s: out of memory", path);
  if (err) {
    sp_vector_file_close(f);
    return err;
  }
  *out = f;
  return SP_OK;
}

void sp_vector_file_close(sp_vector_file *f) {
  if (!f) return;
  if (f->fd >= 0) close(f->fd);
  free(f->offsets);
  free(f->path);
  free(f);
}

const sp_vector_file_info *sp_vector_file_get_info(const sp_vector_file *f) {
  return &f->info;
}

sp_err sp_vector_file_read(const sp_vector_file *f, uint64_t block, sp_vector_block *b) {
  uint64_t offset = f->offsets[block];
  uint8_t bytes[SP_VF_HEAD_BYTES];
  sp_vf_head h;
  const char *fault;
  sp_err err = read_head(f, offset, bytes, &h, &fault);
  if (err) return err;
  if (!fault && h.end) fault = "the file changed while it was read";
  if (fault) return damaged(f->path, offset, fault);
  if ((err = sp_vf_block_reserve(b, h.body_bytes))) return err;
  memcpy(b->data, bytes, SP_VF_SUMMED_BYTES);
  size_t got;
  err = read_at(f->fd, f->path, b->data + SP_VF_SUMMED_BYTES, (size_t)h.body_bytes,
                offset + SP_VF_HEAD_BYTES, &got);
  if (err) return err;
  if (got < h.body_bytes)
    return damaged(f->path, offset, "the file shrank while it was read");
  if ((err = sp_vf_block_settle(b, bytes, &h, &fault))) return err;
  return fault ? damaged(f->path, offset, fault) : SP_OK;
}

/* --- one vector after the other --- */

typedef struct compact_reader {
  FILE *f;
  uint64_t offset; /* in the file */
  uint64_t n_before, n_entries;
  uint32_t n_terms;
  sp_vector_block block;
  uint32_t at;        /* the next vector of the block */
  bool finished_mark; /* a valid end mark is known to close the file */
  bool ended;
} compact_reader;

/* Reads n bytes; *whole is false when the file ends before. */
static sp_err read_bytes(sp_vector_reader *r, void *out, size_t n, bool *whole) {
  compact_reader *c = r->state;
  size_t got = n ? fread(out, 1, n, c->f) : 0;
  c->offset += got;
  *whole = got == n;
  return ferror(c->f) ? sp_fail_errno(errno ? errno : EIO, "%s", r->path) : SP_OK;
}

/* Grows with what is really there: the size is a stranger's claim. */
static sp_err read_body(sp_vector_reader *r, uint64_t n, bool *whole) {
  enum { STEP = 1 << 22 };
  compact_reader *c = r->state;
  *whole = true;
  for (uint64_t done = 0; done < n && *whole;) {
    uint64_t step = n - done < STEP + done ? n - done : STEP + done;
    sp_err err = sp_vf_block_reserve(&c->block, done + step);
    if (!err)
      err = read_bytes(r, c->block.data + SP_VF_SUMMED_BYTES + done, (size_t)step, whole);
    if (err) return err;
    done += step;
  }
  return SP_OK;
}

/* The file ends without end mark, in the middle of something or not. */
static sp_err end_early(sp_vector_reader *r) {
  compact_reader *c = r->state;
  c->ended = true;
  if (r->options.accept_prefix) return SP_OK;
  return sp_fail(SP_EFORMAT,
                 "%s: unfinished: it ends at byte %llu without its end mark; its first "
                 "%llu vectors are whole",
                 r->path, (unsigned long long)c->offset, (unsigned long long)c->n_before);
}

/* Of an unfinished file whatever follows the last whole block is debris of a crash. */
static sp_err end_damaged(sp_vector_reader *r, uint64_t at, const char *fault) {
  compact_reader *c = r->state;
  c->ended = true;
  bool on_disk = c->f != stdin;
  if (r->options.accept_prefix && on_disk && !c->finished_mark) return SP_OK;
  return damaged(r->path, at, fault);
}

static sp_err check_end(sp_vector_reader *r, const sp_vf_head *h) {
  compact_reader *c = r->state;
  c->ended = true;
  if (h->first != c->n_before || h->all_entries != c->n_entries ||
      h->n_terms < c->n_terms)
    return damaged(r->path, c->offset - SP_VF_HEAD_BYTES,
                   "the end mark's counts are not those of the blocks");
  r->n_terms = h->n_terms;
  r->n_vectors = h->first;
  if (getc(c->f) != EOF) return damaged(r->path, c->offset, "bytes behind the end mark");
  return SP_OK;
}

/* Reads the next block, or sets `ended`. */
static sp_err next_block(sp_vector_reader *r) {
  compact_reader *c = r->state;
  uint64_t at = c->offset;
  uint8_t bytes[SP_VF_HEAD_BYTES];
  bool whole;
  sp_err err = read_bytes(r, bytes, sizeof bytes, &whole);
  if (err) return err;
  if (!whole) return end_early(r);
  sp_vf_head h;
  const char *fault = sp_vf_head_read(bytes, &h);
  if (!fault && h.end) return check_end(r, &h);
  if (!fault && h.first != c->n_before) fault = "a block out of order";
  if (fault) return end_damaged(r, at, fault);
  if ((err = sp_vf_block_reserve(&c->block, 0))) return err;
  memcpy(c->block.data, bytes, SP_VF_SUMMED_BYTES);
  if ((err = read_body(r, h.body_bytes, &whole))) return err;
  if (!whole) return end_early(r);
  if ((err = sp_vf_block_settle(&c->block, bytes, &h, &fault))) return err;
  if (fault) return end_damaged(r, at, fault);
  c->at = 0;
  c->n_before += h.n_vectors;
  c->n_entries += h.n_entries;
  if (h.n_terms > c->n_terms) c->n_terms = h.n_terms;
  return SP_OK;
}

static sp_err compact_next(sp_vector_reader *r, bool *more) {
  compact_reader *c = r->state;
  *more = false;
  if (c->at == c->block.n_vectors && !c->ended) {
    sp_err err = next_block(r);
    if (err) return err;
  }
  if (c->ended) return SP_OK;
  size_t n;
  const char *id = sp_vector_block_id(&c->block, c->at, &n);
  sp_err err = sp_buf_append(&r->id, id, n);
  if (!err) err = sp_vector_block_get(&c->block, c->at, &r->vec);
  if (err) return err;
  r->ordered = true;
  r->place++;
  c->at++;
  *more = true;
  return SP_OK;
}

static void compact_close(sp_vector_reader *r) {
  compact_reader *c = r->state;
  if (!c) return;
  if (c->f && c->f != stdin) fclose(c->f);
  sp_vector_block_free(&c->block);
  free(c);
}

static const sp_vector_reader_ops COMPACT_READER = {compact_next, compact_close};

/* A file on disk tells its counts before it is read. */
static sp_err peek_end(sp_vector_reader *r) {
  compact_reader *c = r->state;
  struct stat st;
  if (fstat(fileno(c->f), &st)) return sp_fail_errno(errno, "%s", r->path);
  if (!S_ISREG(st.st_mode) || st.st_size < SP_VF_HEADER_BYTES + SP_VF_HEAD_BYTES)
    return SP_OK;
  uint8_t bytes[SP_VF_HEAD_BYTES];
  size_t got;
  sp_err err = read_at(fileno(c->f), r->path, bytes, sizeof bytes,
                       (uint64_t)st.st_size - sizeof bytes, &got);
  if (err || got < sizeof bytes) return err;
  sp_vf_head h;
  if (sp_vf_head_read(bytes, &h) || !h.end) return SP_OK;
  c->finished_mark = true;
  r->n_terms = h.n_terms;
  r->n_vectors = h.first;
  return SP_OK;
}

sp_err sp_vector_compact_open(sp_vector_reader *r) {
  compact_reader *c = calloc(1, sizeof *c);
  if (!c) return sp_fail(SP_ENOMEM, "%s: out of memory", r->path);
  r->ops = &COMPACT_READER;
  r->state = c;
  r->checked = true;
  bool pipe = strcmp(r->path, "-") == 0;
  c->f = pipe ? stdin : fopen(r->path, "rbe");
  if (!c->f) return sp_fail_errno(errno, "%s", r->path);
  uint8_t header[SP_VF_HEADER_BYTES];
  bool whole;
  sp_err err = read_bytes(r, header, sizeof header, &whole);
  if (err) return err;
  if (!whole)
    return sp_fail(SP_EFORMAT, "%s: not a compact vector file: only %llu bytes", r->path,
                   (unsigned long long)c->offset);
  if ((err = sp_vf_header_check(header, r->path))) return err;
  return pipe ? SP_OK : peek_end(r);
}
