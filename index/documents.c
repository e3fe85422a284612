/* index/documents.c - external ids and stored fields of a snapshot. */
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "index/view.h"

/* The piece that holds local document `doc`; NULL when there is none. */
static const sp_piece_view *find_piece(const sp_piece_views *p, uint32_t doc) {
  uint32_t lo = 0, hi = p->n;
  while (lo < hi) {
    uint32_t mid = lo + (hi - lo) / 2;
    if (p->at[mid].first <= doc)
      lo = mid + 1;
    else
      hi = mid;
  }
  if (lo == 0 || doc - p->at[lo - 1].first >= p->at[lo - 1].count) return NULL;
  return &p->at[lo - 1];
}

/* Bytes i of a piece whose table of ends is followed, `tables` words after its start, by
 * the bytes themselves; NULL when an end is out of place. */
static const uint8_t *bytes_of(const sp_piece_view *p, uint32_t i, uint32_t tables,
                               size_t *n) {
  const uint32_t *end = (const void *)p->payload;
  uint64_t head = 4 * (uint64_t)tables * p->count;
  uint32_t from = i ? end[i - 1] : 0, to = end[i];
  if (from > to || head + to > p->bytes) return NULL;
  *n = to - from;
  return p->payload + head + from;
}

const char *sp_segment_view_id(const sp_segment_view *v, uint32_t doc, size_t *n) {
  const sp_piece_view *p = find_piece(&v->names, doc);
  return p ? (const char *)bytes_of(p, doc - p->first, 1, n) : NULL;
}

const char *sp_snapshot_id(const sp_snapshot *s, uint32_t doc, size_t *n) {
  *n = 0;
  const sp_segment *g = sp_snapshot_find_segment(s, doc);
  return g ? sp_segment_view_id((const void *)g, doc - g->first_doc, n) : NULL;
}

/* Looks through the run of equal hashes of one chunk. */
static uint32_t find_in(const sp_segment_view *v, const sp_piece_view *p, uint64_t hash,
                        const char *id, size_t n) {
  const uint64_t *hashes = (const void *)p->payload;
  const uint32_t *docs = (const void *)(hashes + p->count);
  uint32_t lo = 0, hi = p->count;
  while (lo < hi) {
    uint32_t mid = lo + (hi - lo) / 2;
    if (hashes[mid] < hash)
      lo = mid + 1;
    else
      hi = mid;
  }
  for (; lo < p->count && hashes[lo] == hash; lo++) {
    size_t m = 0;
    const char *name = sp_segment_view_id(v, docs[lo], &m);
    if (name && m == n && memcmp(name, id, n) == 0) return docs[lo];
  }
  return UINT32_MAX;
}

uint32_t sp_segment_view_find(const sp_segment_view *v, const char *id, size_t n) {
  uint64_t hash = XXH3_64bits(id, n);
  uint32_t lo = 0, hi = v->ids.n; /* the last chunk that begins below `hash` ... */
  while (lo < hi) {
    uint32_t mid = lo + (hi - lo) / 2;
    const sp_piece_view *p = &v->ids.at[mid];
    if (p->count == 0 || *(const uint64_t *)(const void *)p->payload < hash)
      lo = mid + 1;
    else
      hi = mid;
  }
  /* ... and those after it, in case a run of equal hashes begins a chunk. */
  for (uint32_t i = lo ? lo - 1 : 0; i < v->ids.n; i++) {
    const sp_piece_view *p = &v->ids.at[i];
    if (p->count && *(const uint64_t *)(const void *)p->payload > hash) break;
    uint32_t doc = find_in(v, p, hash, id, n);
    if (doc != UINT32_MAX) return doc;
  }
  return UINT32_MAX;
}

sp_err sp_snapshot_lookup(const sp_snapshot *s, const char *id, size_t n, uint32_t *doc) {
  for (uint32_t i = s->info.n_segments; i-- > 0;) {
    const sp_segment_view *v = &s->segments[i];
    uint32_t local = sp_segment_view_find(v, id, n);
    if (local == UINT32_MAX || sp_segment_is_deleted(&v->pub, local)) continue;
    *doc = v->pub.first_doc + local;
    return SP_OK;
  }
  return sp_fail(SP_ENOTFOUND, "%s: there is no document '%.*s'", s->index->store.path,
                 n > SP_ID_MAX ? SP_ID_MAX : (int)n, id);
}

/* Contexts are lent to one call at a time and kept for the next. */
static ZSTD_DCtx *borrow_context(sp_snapshot *s) {
  ZSTD_DCtx *c = NULL;
  pthread_mutex_lock(&s->lock);
  if (s->n_contexts) c = s->contexts[--s->n_contexts];
  pthread_mutex_unlock(&s->lock);
  return c ? c : ZSTD_createDCtx();
}

static void return_context(sp_snapshot *s, ZSTD_DCtx *c) {
  pthread_mutex_lock(&s->lock);
  if (s->n_contexts == s->cap_contexts) {
    uint32_t cap = s->cap_contexts ? 2 * s->cap_contexts : 8;
    void *more = realloc(s->contexts, cap * sizeof *s->contexts);
    if (more) {
      s->contexts = more;
      s->cap_contexts = cap;
    }
  }
  if (s->n_contexts < s->cap_contexts) {
    s->contexts[s->n_contexts++] = c;
    c = NULL;
  }
  pthread_mutex_unlock(&s->lock);
  ZSTD_freeDCtx(c); /* accepts NULL */
}

static sp_err decompress(sp_snapshot *s, const sp_segment_view *v, const uint8_t *in,
                         size_t n, size_t raw, sp_buf *out) {
  if (raw > SP_FIELDS_MAX || ZSTD_getFrameContentSize(in, n) != raw) return SP_EFORMAT;
  sp_err err = sp_buf_reserve(out, out->n + raw + 1);
  if (err) return err;
  ZSTD_DCtx *c = borrow_context(s);
  if (!c) return sp_fail(SP_ENOMEM, "%s: out of memory", s->index->store.path);
  size_t got = v->dictionary ? ZSTD_decompress_usingDDict(c, out->data + out->n, raw, in,
                                                          n, v->dictionary)
                             : ZSTD_decompressDCtx(c, out->data + out->n, raw, in, n);
  return_context(s, c);
  if (got != raw) return SP_EFORMAT;
  out->n += raw;
  out->data[out->n] = '\0';
  return SP_OK;
}

sp_err sp_snapshot_fields(const sp_snapshot *s, uint32_t doc, sp_buf *out) {
  const sp_segment *g = sp_snapshot_find_segment(s, doc);
  if (!g)
    return sp_fail(SP_ENOTFOUND, "%s: there is no document number %u",
                   s->index->store.path, doc);
  const sp_segment_view *v = (const void *)g;
  uint32_t local = doc - g->first_doc;
  const sp_piece_view *p = find_piece(&v->documents, local);
  if (!p) return sp_buf_append_str(out, "{}");
  uint32_t i = local - p->first,
           raw = ((const uint32_t *)(const void *)p->payload)[p->count + i];
  if (raw == 0) return sp_buf_append_str(out, "{}");
  size_t n;
  const uint8_t *in = bytes_of(p, i, 2, &n);
  /* The snapshot is const to its users: the contexts are its own affair. */
  sp_err err = in ? decompress((sp_snapshot *)s, v, in, n, raw, out) : SP_EFORMAT;
  if (err == SP_EFORMAT)
    return sp_fail(SP_EFORMAT, "%s: the fields of document number %u are damaged",
                   s->index->store.path, doc);
  return err;
}
