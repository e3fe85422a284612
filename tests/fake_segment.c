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

/* The block's coordinate-wise maximum in `dense`, cut to `energy`; quantized into
 * codes[n_terms] (-1: not there). */
static void summarize(float *dense, uint32_t n_terms, float energy, int *codes,
                      float *min, float *step, float *cut) {
  posting *all = get(n_terms * sizeof *all); /* .doc is a term here */
  uint32_t n = 0, kept = 0;
  float mass = 0, sum = 0, high = 0;
  for (uint32_t t = 0; t < n_terms; t++) {
    codes[t] = -1;
    if (dense[t] > 0) all[n++] = (posting){t, dense[t]}, mass += dense[t];
  }
  qsort(all, n, sizeof *all, by_weight);
  while (kept < n && (energy >= 1 || sum < energy * mass)) sum += all[kept++].weight;
  *cut = kept < n ? all[kept].weight : 0;
  *min = kept ? all[kept - 1].weight : 0;
  high = kept ? all[0].weight : 0;
  *step = (high - *min) / 255;
  for (uint32_t i = 0; i < kept; i++)
    codes[all[i].doc] = *step > 0 ? (int)lrintf((all[i].weight - *min) / *step) : 0;
  free(all);
}

static sp_list *make_list(const sp_vec *docs, uint32_t n_docs, uint32_t term,
                          const fake_options *o, uint32_t term_bytes) {
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
  if (o->n_postings && n > o->n_postings) {
    n = o->n_postings;
    l->max_discarded = p[n].weight;
  }
  qsort(p, n, sizeof *p, by_number);

  uint32_t n_blocks = (n + o->block_size - 1) / o->block_size;
  uint32_t *list_docs = get(n * sizeof *list_docs);
  uint32_t *block_start = get((n_blocks + 1) * sizeof *block_start);
  float *min = get(n_blocks * sizeof *min), *step = get(n_blocks * sizeof *step);
  float *cut = get(n_blocks * sizeof *cut), *dense = get(o->n_terms * sizeof *dense);
  int *codes = get((size_t)n_blocks * o->n_terms * sizeof *codes);
  for (uint32_t b = 0; b < n_blocks; b++) {
    memset(dense, 0, o->n_terms * sizeof *dense);
    uint32_t end = (b + 1) * o->block_size < n ? (b + 1) * o->block_size : n;
    for (uint32_t i = b * o->block_size; i < end; i++) {
      const sp_vec *v = &docs[p[i].doc];
      list_docs[i] = p[i].doc;
      for (uint32_t j = 0; j < v->n; j++)
        dense[v->terms[j]] = fmaxf(dense[v->terms[j]], v->weights[j]);
    }
    block_start[b + 1] = end;
    summarize(dense, o->n_terms, o->energy, codes + (size_t)b * o->n_terms, &min[b],
              &step[b], &cut[b]);
  }

  uint32_t n_entries = 0, s = 0;
  for (size_t i = 0; i < (size_t)n_blocks * o->n_terms; i++) n_entries += codes[i] >= 0;
  uint8_t *terms = get((size_t)o->n_terms * term_bytes), *code = get(n_entries);
  uint32_t *start = get((o->n_terms + 1) * sizeof *start), e = 0;
  uint16_t *block = get(n_entries * sizeof *block);
  for (uint32_t t = 0; t < o->n_terms; t++) {
    uint32_t before = e;
    for (uint32_t b = 0; b < n_blocks; b++)
      if (codes[(size_t)b * o->n_terms + t] >= 0) {
        block[e] = (uint16_t)b;
        code[e++] = (uint8_t)codes[(size_t)b * o->n_terms + t];
      }
    if (e == before) continue;
    if (term_bytes == 2)
      ((uint16_t *)(void *)terms)[s] = (uint16_t)t;
    else
      ((uint32_t *)(void *)terms)[s] = t;
    start[++s] = e;
  }
  l->n_docs = n;
  l->n_blocks = n_blocks;
  l->n_summary_terms = s;
  l->docs = list_docs;
  l->block_start = block_start;
  l->summary_terms = terms;
  l->summary_start = start;
  l->summary_block = block;
  l->summary_code = code;
  l->block_min = min;
  l->block_step = step;
  l->block_cut = cut;
  free(dense);
  free(codes);
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
    list_at[t] = (uintptr_t)make_list(docs, n, t, o, seg->term_bytes);
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
  drop(l->docs);
  drop(l->block_start);
  drop(l->summary_terms);
  drop(l->summary_start);
  drop(l->summary_block);
  drop(l->summary_code);
  drop(l->block_min);
  drop(l->block_step);
  drop(l->block_cut);
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
