/* tests/fake_segment.c - plain loops, no cleverness: this is what tests lean on. */
#include "tests/fake_segment.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/half.h"

typedef struct posting {
  uint32_t doc;
  float weight;
} posting;

static void *get(size_t n) {
  void *p = aligned_alloc(64, (n + 64) / 64 * 64);
  if (!p) abort();
  return memset(p, 0, (n + 64) / 64 * 64);
}

static void add_chunk(const sp_vec *docs, uint32_t n, uint32_t term_bytes,
                      sp_forward_chunk *out) {
  uint32_t *start = get((n + 1) * sizeof *start);
  uint16_t *count = get(n * sizeof *count);
  for (uint32_t i = 0; i < n; i++) {
    count[i] = (uint16_t)docs[i].n;
    start[i + 1] = start[i] + (docs[i].n * (term_bytes + 2) + 3) / 4;
  }
  uint8_t *base = get(start[n] * (size_t)4);
  for (uint32_t i = 0; i < n; i++) {
    uint8_t *at = base + start[i] * (size_t)4;
    uint16_t *weights = (void *)(at + docs[i].n * term_bytes);
    for (uint32_t j = 0; j < docs[i].n; j++) {
      if (term_bytes == 2)
        ((uint16_t *)(void *)at)[j] = (uint16_t)docs[i].terms[j];
      else
        ((uint32_t *)(void *)at)[j] = docs[i].terms[j];
      weights[j] = sp_f32_to_f16(docs[i].weights[j]);
    }
  }
  *out = (sp_forward_chunk){base, start, count};
}

static int by_weight(const void *a, const void *b) {
  float x = ((const posting *)a)->weight, y = ((const posting *)b)->weight;
  return (x < y) - (x > y);
}

static int by_number(const void *a, const void *b) {
  uint32_t x = ((const posting *)a)->doc, y = ((const posting *)b)->doc;
  return (x > y) - (x < y);
}

static sp_list *make_list(const sp_vec *docs, uint32_t n_docs, uint32_t term,
                          const fake_options *o) {
  posting *p = get(n_docs * sizeof *p);
  uint32_t n = 0;
  for (uint32_t d = 0; d < n_docs; d++)
    for (uint32_t i = 0; i < docs[d].n; i++)
      if (docs[d].terms[i] == term) p[n++] = (posting){d, docs[d].weights[i]};
  if (!n) return free(p), NULL;
  sp_list *l = get(sizeof *l);
  qsort(p, n, sizeof *p, by_weight);
  l->n_all_docs = n;
  l->max_weight = p[0].weight;
  l->step = l->max_weight / 255;
  if (o->n_postings && n > o->n_postings) {
    n = o->n_postings;
    l->max_discarded = p[n].weight;
  }
  qsort(p, n, sizeof *p, by_number);

  uint16_t *list_docs = get(n * sizeof *list_docs), *window = get(n * sizeof *window);
  uint8_t *codes = get(n);
  uint32_t *start = get((n + 1) * sizeof *start);
  for (uint32_t i = 0; i < n; i++) {
    if (i == 0 || p[i].doc / SP_WINDOW_DOCS != window[l->n_runs - 1]) {
      start[l->n_runs] = i;
      window[l->n_runs++] = (uint16_t)(p[i].doc / SP_WINDOW_DOCS);
    }
    list_docs[i] = (uint16_t)(p[i].doc % SP_WINDOW_DOCS);
    codes[i] = (uint8_t)fmaxf(ceilf(p[i].weight / l->step - 1e-3f), 1);
  }
  start[l->n_runs] = n;
  l->n_docs = n;
  l->run_start = start;
  l->run_window = window;
  l->docs = list_docs;
  l->codes = codes;
  free(p);
  return l;
}

void fake_add_segment(sp_snapshot *s, const sp_vec *docs, uint32_t n,
                      const fake_options *o) {
  if (s->n_segments == FAKE_MAX_SEGMENTS) abort();
  sp_segment *seg = &s->segments[s->n_segments];
  *seg = (sp_segment){.id = s->n_segments,
                      .n_docs = n,
                      .n_terms = o->n_terms,
                      .term_bytes = o->n_terms <= 65536 ? 2 : 4,
                      .sealed = o->sealed};
  if (s->n_segments) seg->first_doc = seg[-1].first_doc + seg[-1].n_docs;
  s->n_segments++;
  uint32_t n_chunks = (n + SP_CHUNK_DOCS - 1) / SP_CHUNK_DOCS;
  sp_forward_chunk *chunks = get(n_chunks * sizeof *chunks);
  for (uint32_t c = 0; c < n_chunks; c++) {
    uint32_t first = c * SP_CHUNK_DOCS;
    add_chunk(docs + first, n - first < SP_CHUNK_DOCS ? n - first : SP_CHUNK_DOCS,
              seg->term_bytes, &chunks[c]);
  }
  seg->chunks = chunks;
  if (!o->sealed) return;
  uint64_t *list_at = get(o->n_terms * sizeof *list_at);
  for (uint32_t t = 0; t < o->n_terms; t++)
    list_at[t] = (uintptr_t)make_list(docs, n, t, o);
  seg->list_at = list_at;
}

void fake_delete(sp_snapshot *s, uint32_t doc) {
  for (uint32_t i = 0; i < s->n_segments; i++) {
    sp_segment *seg = &s->segments[i];
    if (doc < seg->first_doc || doc - seg->first_doc >= seg->n_docs) continue;
    uint64_t *bits = (uint64_t *)(uintptr_t)seg->deleted;
    if (!bits) seg->deleted = bits = get((seg->n_docs + 63) / 64 * sizeof *bits);
    uint32_t at = doc - seg->first_doc;
    bits[at / 64] |= (uint64_t)1 << at % 64;
    seg->n_deleted++;
  }
}

static void drop(const void *p) {
  free((void *)(uintptr_t)p);
}

static void free_list(sp_list *l) {
  if (!l) return;
  drop(l->run_start);
  drop(l->run_window);
  drop(l->docs);
  drop(l->codes);
  free(l);
}

void fake_free(sp_snapshot *s) {
  for (uint32_t i = 0; i < s->n_segments; i++) {
    sp_segment *seg = &s->segments[i];
    for (uint32_t c = 0; c * (size_t)SP_CHUNK_DOCS < seg->n_docs; c++) {
      drop(seg->chunks[c].base);
      drop(seg->chunks[c].start);
      drop(seg->chunks[c].n);
    }
    for (uint32_t t = 0; seg->sealed && t < seg->n_terms; t++)
      free_list((sp_list *)(uintptr_t)seg->list_at[t]);
    drop(seg->list_at);
    drop(seg->chunks);
    drop(seg->deleted);
  }
  *s = (sp_snapshot){.n_segments = 0};
}

/* --- in place of index/ --- */

bool sp_segment_list(const sp_segment *s, uint32_t term, sp_list *out) {
  if (term >= s->n_terms || !s->list_at[term]) return false;
  *out = *(const sp_list *)(uintptr_t)s->list_at[term];
  return true;
}

void sp_segment_touch(const sp_segment *s, uint32_t chunk) {
  (void)s;
  (void)chunk;
  abort(); /* all chunks have their tables here */
}

sp_err sp_segment_health(const sp_segment *s) {
  (void)s;
  return SP_OK;
}

uint32_t sp_snapshot_n_segments(const sp_snapshot *s) {
  return s->n_segments;
}

const sp_segment *sp_snapshot_segment(const sp_snapshot *s, uint32_t i) {
  return &s->segments[i];
}
