/* tests/fuzz_segment.c - any bytes as what an index keeps of a segment: a forward chunk and
 * lists. What its checks let pass must bear an exact and a pruned search.
 *
 * The input: a byte of options, the number of documents, of terms, the bytes of the forward
 * chunk over 4; for each term where its list lies, over 4 (255: it has none); the forward
 * chunk; the lists. Stands in for index/, whose checks alone are called. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "index/format.h"
#include "query/search.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

enum { WIDE = 1, MEND = 2, SHORT_QUERY = 4, HEAD = 4, MAX_TERMS = 64, K = 5 };

struct sp_snapshot {
  sp_segment segment;
  sp_forward_chunk chunk;
  const uint8_t *list_chunk;
  uint64_t list_at[MAX_TERMS], list_bytes;
  bool damaged;
};

static void *copy(const uint8_t *from, size_t n) {
  void *to = aligned_alloc(64, sp_round_up(n + 1, 64)); /* as the map lies */
  if (!to) abort();
  if (n) memcpy(to, from, n);
  return to;
}

/* ---- in place of index/ ---- */

bool sp_segment_list(const sp_segment *seg, uint32_t term, sp_list *out) {
  struct sp_snapshot *s = (struct sp_snapshot *)(uintptr_t)seg; /* its first member */
  if (term >= seg->n_terms || !s->list_at[term]) return false;
  uint64_t at = (uint32_t)s->list_at[term];
  if (at <= s->list_bytes &&
      sp_list_read(s->list_chunk + at, s->list_bytes - at, term, seg->n_docs, out))
    return true;
  s->damaged = true;
  return false;
}

void sp_segment_touch(const sp_segment *seg, uint32_t chunk) {
  (void)seg;
  (void)chunk;
  abort(); /* the chunk was read */
}

sp_err sp_segment_health(const sp_segment *seg) {
  return ((const struct sp_snapshot *)(const void *)seg)->damaged ? SP_EFORMAT : SP_OK;
}

uint32_t sp_snapshot_n_segments(const sp_snapshot *s) {
  (void)s;
  return 1;
}

const sp_segment *sp_snapshot_segment(const sp_snapshot *s, uint32_t i) {
  (void)i;
  return &s->segment;
}

/* ---- the input ---- */

/* Puts the term and the size into each list's heading, which must agree. */
static void mend(struct sp_snapshot *s, uint8_t *lists) {
  for (uint32_t t = 0; t < s->segment.n_terms; t++) {
    uint64_t at = (uint32_t)s->list_at[t];
    sp_disk_list h;
    if (!s->list_at[t] || at + sizeof h > s->list_bytes) continue;
    memcpy(&h, lists + at, sizeof h);
    h.term = t;
    h.bytes = (uint32_t)sp_list_bytes(&h);
    memcpy(lists + at, &h, sizeof h);
  }
}

static void search(const sp_snapshot *s, const sp_vec *query, bool exact) {
  static const float SHARES[] = {0, 0.8f, 1.5f};
  sp_searcher *searcher;
  if (sp_searcher_new(s, &searcher)) abort();
  for (int round = 0; round < 3; round++) {
    sp_search_params p = {.k = K, .exact = exact, .heap_factor = SHARES[round]};
    p.query_cut = round == 1 ? 2 : 0;
    sp_hit hits[K];
    uint32_t n_hits;
    if (sp_search(searcher, query, &p, hits, &n_hits, NULL)) continue;
    if (n_hits > K) abort();
    for (uint32_t i = 0; i < n_hits; i++)
      if (hits[i].doc >= s->segment.n_docs || !(hits[i].score > 0)) abort();
  }
  sp_searcher_free(searcher);
}

static void search_all(const sp_snapshot *s, bool short_query) {
  uint32_t terms[MAX_TERMS];
  float weights[MAX_TERMS];
  sp_vec query = {.terms = terms, .weights = weights, .n = s->segment.n_terms};
  if (short_query && query.n > 3) query.n = 3;
  for (uint32_t i = 0; i < query.n; i++) {
    terms[i] = i;
    weights[i] = 1 / (float)(i + 1);
  }
  search(s, &query, true);
  search(s, &query, false);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n) {
  if (n < HEAD) return 0;
  uint32_t n_docs = data[1], n_terms = data[2] % (MAX_TERMS + 1);
  size_t n_forward = 4 * (size_t)data[3], head = HEAD + n_terms;
  if (n_docs == 0 || n < head + n_forward) return 0;
  struct sp_snapshot s = {.segment = {.n_docs = n_docs,
                                      .n_terms = n_terms,
                                      .term_bytes = data[0] & WIDE ? 4 : 2,
                                      .sealed = true}};
  for (uint32_t t = 0; t < n_terms; t++)
    if (data[HEAD + t] != 255) s.list_at[t] = 1ull << 32 | 4u * data[HEAD + t];
  uint8_t *forward = copy(data + head, n_forward);
  s.list_bytes = n - head - n_forward;
  uint8_t *lists = copy(data + head + n_forward, s.list_bytes);
  if (data[0] & MEND) mend(&s, lists);
  s.list_chunk = lists;
  s.segment.chunks = &s.chunk;
  s.segment.list_at = s.list_at;
  if (sp_forward_read(forward, n_forward, n_docs, n_terms, s.segment.term_bytes,
                      &s.chunk))
    search_all(&s, data[0] & SHORT_QUERY);
  free(forward);
  free(lists);
  return 0;
}
