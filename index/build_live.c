/* index/build_live.c - of equal ids the last one stays; the ids' hashes in order.
 *
 * Both sort the spool's hashes, one range of hashes after the other so that a range fits
 * into an eighth of the memory. */
#include <stdlib.h>
#include <string.h>

#include "index/build.h"

typedef struct hashed {
  uint64_t hash;
  uint64_t ordinal;
} hashed;

static int compare_hashed(const void *a, const void *b) {
  const hashed *x = a, *y = b;
  if (x->hash != y->hash) return x->hash < y->hash ? -1 : 1;
  return x->ordinal < y->ordinal ? -1 : x->ordinal > y->ordinal;
}

typedef sp_err (*hashes_visit)(sp_builder *b, void *arg, const hashed *at, size_t n);

static size_t collect(const sp_builder *b, uint64_t range, uint64_t n_ranges,
                      bool live_only, hashed *out, size_t cap) {
  size_t n = 0;
  for (uint64_t i = 0; i < b->spool.n_docs; i++) {
    uint64_t hash = b->spool.docs[i].hash;
    if ((uint64_t)((__uint128_t)hash * n_ranges >> 64) != range) continue;
    if (live_only && !sp_build_is_live(b, i)) continue;
    if (n < cap) out[n] = (hashed){hash, i};
    n++;
  }
  return n;
}

/* Calls `visit` with runs of hashes, ascending over all calls. */
static sp_err visit_sorted(sp_builder *b, bool live_only, hashes_visit visit, void *arg) {
  uint64_t most = b->o.memory_bytes / 8 / sizeof(hashed);
  uint64_t n_ranges = b->spool.n_docs / most + 1;
  size_t cap = (size_t)(b->spool.n_docs / n_ranges) + 1, n;
  if (n_ranges > 1) cap += cap / 8; /* hashes spread evenly, but not exactly */
  hashed *at = malloc(cap * sizeof *at);
  sp_err err = at ? SP_OK : sp_fail(SP_ENOMEM, "%s: out of memory", b->path);
  for (uint64_t r = 0; r < n_ranges && !err; r++) {
    while ((n = collect(b, r, n_ranges, live_only, at, cap)) > cap) {
      void *more = realloc(at, n * sizeof *at);
      if (!more) {
        free(at);
        return sp_fail(SP_ENOMEM, "%s: out of memory", b->path);
      }
      at = more;
      cap = n;
    }
    qsort(at, n, sizeof *at, compare_hashed);
    err = visit(b, arg, at, n);
  }
  free(at);
  return err;
}

static bool same_id(const sp_builder *b, uint64_t i, uint64_t j) {
  const sp_spool_doc *x = &b->spool.docs[i], *y = &b->spool.docs[j];
  return x->n_id == y->n_id && memcmp(sp_spool_read(&b->spool, i).id,
                                      sp_spool_read(&b->spool, j).id, x->n_id) == 0;
}

/* Within a run of equal hashes: drops each document that one after it has the id of. */
static sp_err drop_superseded(sp_builder *b, void *arg, const hashed *at, size_t n) {
  (void)arg;
  for (size_t i = 0, end; i < n; i = end) {
    for (end = i + 1; end < n && at[end].hash == at[i].hash;) end++;
    for (size_t j = i; j + 1 < end; j++)
      for (size_t k = j + 1; k < end; k++)
        if (same_id(b, at[j].ordinal, at[k].ordinal)) {
          uint64_t o = at[j].ordinal;
          b->live.bits[o / 64] &= ~((uint64_t)1 << o % 64);
          b->sum.n_duplicates++;
          break;
        }
  }
  return SP_OK;
}

bool sp_build_is_live(const sp_builder *b, uint64_t ordinal) {
  return b->live.bits[ordinal / 64] >> ordinal % 64 & 1;
}

uint32_t sp_build_local(const sp_builder *b, uint64_t ordinal) {
  uint32_t n = b->live.before[ordinal / 4096];
  uint64_t word = ordinal / 4096 * 64;
  for (; word < ordinal / 64; word++)
    n += (uint32_t)__builtin_popcountll(b->live.bits[word]);
  uint64_t below = b->live.bits[word] & (((uint64_t)1 << ordinal % 64) - 1);
  return n + (uint32_t)__builtin_popcountll(below);
}

uint64_t sp_build_ordinal(const sp_builder *b, uint32_t local) {
  uint64_t lo = 0, hi = b->spool.n_docs / 4096 + 1;
  while (hi - lo > 1) {
    uint64_t mid = lo + (hi - lo) / 2;
    if (b->live.before[mid] <= local)
      lo = mid;
    else
      hi = mid;
  }
  uint64_t ordinal = lo * 4096;
  for (uint32_t left = local - b->live.before[lo];; ordinal++)
    if (sp_build_is_live(b, ordinal) && left-- == 0) return ordinal;
}

sp_err sp_build_find_live(sp_builder *b) {
  uint64_t n = b->spool.n_docs, n_words = n / 64 + 1;
  b->live.bits = calloc(n_words, sizeof *b->live.bits);
  b->live.before = calloc(n / 4096 + 1, sizeof *b->live.before);
  if (!b->live.bits || !b->live.before)
    return sp_fail(SP_ENOMEM, "%s: out of memory", b->path);
  for (uint64_t i = 0; i < n; i++) b->live.bits[i / 64] |= (uint64_t)1 << i % 64;
  sp_err err = visit_sorted(b, false, drop_superseded, NULL);
  if (err) return err;
  for (uint64_t w = 0; w < n_words; w++) {
    if (w % 64 == 0) b->live.before[w / 64] = b->live.n;
    b->live.n += (uint32_t)__builtin_popcountll(b->live.bits[w]);
  }
  b->n_chunks = (uint32_t)((b->live.n + (uint64_t)SP_CHUNK_DOCS - 1) / SP_CHUNK_DOCS);
  b->sum.n_docs = b->live.n;
  return SP_OK;
}

/* Hashes on their way into a chunk. Ranges depend on the memory, chunks must not: a build that
 * goes on with less or more of it writes over the chunks that are there. */
typedef struct ids_writer {
  hashed *at; /* [SP_IDS_PER_CHUNK] */
  uint32_t n;
} ids_writer;

static sp_err write_ids_chunk(sp_builder *b, ids_writer *w) {
  if (w->n == 0) return SP_OK;
  void *value;
  size_t bytes = 12 * (size_t)w->n;
  sp_err err =
      sp_build_reserve(b, SP_DB_IDS, b->at.n_hashes, SP_CHUNK_HEADING + bytes, &value);
  if (err) return err;
  uint64_t *hashes = (uint64_t *)(void *)((char *)value + SP_CHUNK_HEADING);
  uint32_t *docs = (uint32_t *)(void *)(hashes + w->n);
  for (uint32_t i = 0; i < w->n; i++) {
    hashes[i] = w->at[i].hash;
    docs[i] = sp_build_local(b, w->at[i].ordinal);
  }
  sp_chunk_seal(value, SP_CHUNK_IDS, b->at.segment, b->at.n_hashes, w->n, bytes);
  b->at.n_ids++;
  b->at.n_hashes += w->n;
  w->n = 0;
  return sp_build_step(b, false);
}

static sp_err write_hashes(sp_builder *b, void *arg, const hashed *at, size_t n) {
  ids_writer *w = arg;
  sp_err err = SP_OK;
  for (size_t i = 0; i < n && !err; i++) {
    w->at[w->n++] = at[i];
    if (w->n == SP_IDS_PER_CHUNK) err = write_ids_chunk(b, w);
  }
  return err;
}

sp_err sp_build_write_ids(sp_builder *b) {
  b->at.n_ids = b->at.n_hashes = 0; /* a build that goes on writes them over */
  ids_writer w = {.at = malloc(SP_IDS_PER_CHUNK * sizeof *w.at)};
  if (!w.at) return sp_fail(SP_ENOMEM, "%s: out of memory", b->path);
  sp_err err = visit_sorted(b, true, write_hashes, &w);
  if (!err) err = write_ids_chunk(b, &w);
  free(w.at);
  return err;
}
