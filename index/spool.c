/* index/spool.c - append-only files that survive a kill. */
#include "index/spool.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include <xxhash.h>

#define STATE_MAGIC "spindle build 1\n"

typedef struct state_heading {
  char magic[16];
  uint64_t checksum; /* XXH3 of all that follows */
  uint64_t n_docs, bytes, n_terms, n_cut, complete;
  uint64_t n_source, n_position, n_encoder; /* bytes that follow, in this order */
} state_heading;

void sp_spool_state_free(sp_spool_state *s) {
  sp_buf_free(&s->source);
  sp_buf_free(&s->position);
  sp_buf_free(&s->encoder);
  *s = (sp_spool_state){0};
}

bool sp_spool_exists(const char *dir) {
  char *path = sp_path_join(dir, "build.state");
  bool yes = path && sp_path_exists(path);
  free(path);
  return yes;
}

static sp_err parse_state(const char *path, const char *data, size_t n,
                          sp_spool_state *out) {
  state_heading h;
  const size_t after = offsetof(state_heading, n_docs);
  if (n < sizeof h) return sp_fail(SP_EFORMAT, "%s: %zu bytes are too few", path, n);
  memcpy(&h, data, sizeof h);
  if (memcmp(h.magic, STATE_MAGIC, sizeof h.magic) != 0 ||
      h.checksum != XXH3_64bits(data + after, n - after) || h.n_source > n ||
      h.n_position > n || h.n_encoder > n ||
      sizeof h + h.n_source + h.n_position + h.n_encoder != n)
    return sp_fail(SP_EFORMAT, "%s is damaged", path);
  out->n_docs = h.n_docs;
  out->bytes = h.bytes;
  out->n_terms = h.n_terms;
  out->n_cut = h.n_cut;
  out->complete = h.complete != 0;
  const char *p = data + sizeof h;
  sp_err err = sp_buf_append(&out->source, p, h.n_source);
  if (!err) err = sp_buf_append(&out->position, p + h.n_source, h.n_position);
  if (!err)
    err = sp_buf_append(&out->encoder, p + h.n_source + h.n_position, h.n_encoder);
  return err;
}

sp_err sp_spool_read_state(const char *dir, sp_spool_state *out) {
  *out = (sp_spool_state){0};
  char *path = sp_path_join(dir, "build.state"), *data = NULL;
  if (!path) return SP_ENOMEM;
  size_t n;
  sp_err err = sp_file_read(path, (size_t)4 << 30, &data, &n);
  if (!err) err = parse_state(path, data, n, out);
  if (err) sp_spool_state_free(out);
  free(data);
  free(path);
  return err;
}

sp_err sp_spool_write_state(const char *dir, const sp_spool_state *s) {
  state_heading h = {.magic = STATE_MAGIC,
                     .n_docs = s->n_docs,
                     .bytes = s->bytes,
                     .n_terms = s->n_terms,
                     .n_cut = s->n_cut,
                     .complete = s->complete,
                     .n_source = s->source.n,
                     .n_position = s->position.n,
                     .n_encoder = s->encoder.n};
  sp_buf all = {0};
  sp_err err = sp_buf_append(&all, &h, sizeof h);
  if (!err && s->source.n) err = sp_buf_append(&all, s->source.data, s->source.n);
  if (!err && s->position.n) err = sp_buf_append(&all, s->position.data, s->position.n);
  if (!err && s->encoder.n) err = sp_buf_append(&all, s->encoder.data, s->encoder.n);
  char *path = err ? NULL : sp_path_join(dir, "build.state");
  if (!err && !path) err = SP_ENOMEM;
  if (!err) {
    const size_t after = offsetof(state_heading, n_docs);
    uint64_t sum = XXH3_64bits(all.data + after, all.n - after);
    memcpy(all.data + offsetof(state_heading, checksum), &sum, sizeof sum);
    sp_out out;
    err = sp_out_open(path, &out);
    if (!err && fwrite(all.data, 1, all.n, out.f) != all.n) {
      err = sp_fail_errno(errno, "%s", path);
      sp_out_abort(&out);
    } else if (!err) {
      err = sp_out_commit(&out);
    }
  }
  free(path);
  sp_buf_free(&all);
  return err;
}

static sp_err open_at(const char *dir, const char *name, uint64_t bytes, FILE **out) {
  char *path = sp_path_join(dir, name);
  if (!path) return SP_ENOMEM;
  FILE *f = fopen(path, bytes ? "r+be" : "w+be");
  sp_err err = SP_OK;
  if (!f)
    err = sp_fail_errno(errno, "%s", path);
  else if (fseeko(f, 0, SEEK_END) || (uint64_t)ftello(f) < bytes)
    err = sp_fail(SP_EFORMAT, "%s: shorter than its last checkpoint", path);
  else if (ftruncate(fileno(f), (off_t)bytes) || fseeko(f, (off_t)bytes, SEEK_SET))
    err = sp_fail_errno(errno, "%s", path);
  else
    setvbuf(f, NULL, _IOFBF, 1 << 18);
  if (err && f) {
    fclose(f);
    f = NULL;
  }
  free(path);
  *out = f;
  return err;
}

sp_err sp_spool_open(const char *dir, uint64_t n_docs, uint64_t bytes, sp_spool *out) {
  *out = (sp_spool){.n_docs = n_docs, .bytes = bytes};
  sp_err err = open_at(dir, "build.data", bytes, &out->data);
  if (!err) err = open_at(dir, "build.table", n_docs * sizeof(sp_spool_doc), &out->table);
  if (err) sp_spool_close(out);
  return err;
}

static bool put(FILE *f, const void *data, size_t n) {
  return n == 0 || fwrite(data, 1, n, f) == n;
}

sp_err sp_spool_add(sp_spool *s, const char *id, size_t n_id, const sp_vec *v,
                    const char *fields, size_t n_fields) {
  static const char zeros[4] = {0};
  sp_spool_doc d = {.hash = XXH3_64bits(id, n_id),
                    .at = s->bytes,
                    .n_id = (uint32_t)n_id,
                    .n_fields = (uint32_t)n_fields,
                    .n_entries = v->n};
  size_t text = n_id + n_fields, pad = -text & 3;
  errno = 0;
  if (!put(s->data, id, n_id) || !put(s->data, fields, n_fields) ||
      !put(s->data, zeros, pad) || !put(s->data, v->terms, 4 * (size_t)v->n) ||
      !put(s->data, v->weights, 4 * (size_t)v->n) || !put(s->table, &d, sizeof d))
    return sp_fail_errno(errno ? errno : EIO, "cannot write the build's spool");
  s->bytes += text + pad + 8 * (uint64_t)v->n;
  s->n_docs++;
  return SP_OK;
}

static sp_err flush_one(FILE *f) {
  if (fflush(f) || fdatasync(fileno(f)))
    return sp_fail_errno(errno, "cannot write the build's spool");
  return SP_OK;
}

sp_err sp_spool_flush(sp_spool *s) {
  sp_err err = flush_one(s->data);
  return err ? err : flush_one(s->table);
}

static sp_err map_one(const char *dir, const char *name, uint64_t bytes, sp_map *out) {
  char *path = sp_path_join(dir, name);
  if (!path) return SP_ENOMEM;
  sp_err err = sp_map_open(path, out);
  if (!err && out->n < bytes)
    err = sp_fail(SP_EFORMAT, "%s: shorter than its last checkpoint", path);
  free(path);
  return err;
}

/* The table is not sealed by a checksum: an entry that points outside is damage. */
static sp_err check_table(const sp_spool *s, const char *dir) {
  uint64_t next = 0;
  for (uint64_t i = 0; i < s->n_docs; i++) {
    const sp_spool_doc *d = &s->docs[i];
    uint64_t n = sp_spool_text_bytes(d) + 8 * (uint64_t)d->n_entries;
    if (d->at != next || n > s->bytes - next || d->n_id == 0)
      return sp_fail(SP_EFORMAT, "%s/build.table: document %llu is damaged", dir,
                     (unsigned long long)i);
    next += n;
  }
  return SP_OK;
}

sp_err sp_spool_map(sp_spool *s, const char *dir) {
  sp_err err = sp_spool_flush(s);
  if (err) return err;
  fclose(s->data);
  fclose(s->table);
  s->data = s->table = NULL;
  err = map_one(dir, "build.data", s->bytes, &s->data_map);
  if (!err)
    err = map_one(dir, "build.table", s->n_docs * sizeof(sp_spool_doc), &s->table_map);
  s->docs = (const void *)s->table_map.data;
  return err ? err : check_table(s, dir);
}

void sp_spool_close(sp_spool *s) {
  if (s->data) fclose(s->data);
  if (s->table) fclose(s->table);
  sp_map_close(&s->data_map);
  sp_map_close(&s->table_map);
  *s = (sp_spool){0};
}

void sp_spool_remove(const char *dir) {
  static const char *const NAMES[] = {"build.state", "build.table", "build.data"};
  for (int i = 0; i < 3; i++) {
    char *path = sp_path_join(dir, NAMES[i]);
    if (path) unlink(path);
    free(path);
  }
}

sp_spool_view sp_spool_read(const sp_spool *s, uint64_t i) {
  const sp_spool_doc *d = &s->docs[i];
  const uint8_t *at = s->data_map.data + d->at;
  const uint8_t *numbers = at + sp_spool_text_bytes(d);
  return (sp_spool_view){(const char *)at, (const char *)at + d->n_id,
                         (const void *)numbers,
                         (const void *)(numbers + 4 * (size_t)d->n_entries)};
}

sp_err sp_spool_check(const sp_spool *s, uint64_t i, uint32_t n_terms) {
  const sp_spool_doc *d = &s->docs[i];
  sp_spool_view v = sp_spool_read(s, i);
  if (XXH3_64bits(v.id, d->n_id) == d->hash && (n_terms > 0 || d->n_entries == 0) &&
      sp_vec_check(v.terms, v.weights, d->n_entries, n_terms, NULL) == SP_VEC_SOUND)
    return SP_OK;
  return sp_fail(SP_EFORMAT, "the build's spool is damaged at document %llu",
                 (unsigned long long)i);
}

void sp_spool_forget(const sp_spool *s, uint64_t first, uint64_t end) {
  if (first >= end) return;
  uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);
  uint64_t to = end < s->n_docs ? s->docs[end].at : s->bytes;
  uintptr_t a = (uintptr_t)(s->data_map.data + s->docs[first].at) / page * page;
  uintptr_t z = (uintptr_t)(s->data_map.data + to) / page * page;
  if (z > a) madvise((void *)a, z - a, MADV_DONTNEED);
}
