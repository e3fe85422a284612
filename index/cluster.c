/* index/cluster.c - shallow k-means over one list. */
#include "index/cluster.h"

#include <stdlib.h>
#include <string.h>

#include "base/half.h"

enum { BREATHE_EVERY = 256 /* documents read between looks at the memory */ };

sp_err sp_cluster_init(sp_cluster *c, uint32_t n_terms) {
  *c = (sp_cluster){0};
  c->max_weight = calloc(n_terms + (size_t)1, sizeof *c->max_weight);
  c->count = calloc(n_terms + (size_t)1, sizeof *c->count);
  c->start = calloc(n_terms + (size_t)1, sizeof *c->start);
  c->seen = calloc((size_t)n_terms / 64 + 1, sizeof *c->seen);
  c->touched = malloc((n_terms + (size_t)1) * sizeof *c->touched);
  c->score = malloc((SP_MAX_BLOCKS + 1) * sizeof *c->score);
  c->gone = malloc((SP_MAX_BLOCKS + 1) * sizeof *c->gone);
  if (c->max_weight && c->count && c->start && c->seen && c->touched && c->score &&
      c->gone)
    return SP_OK;
  return sp_fail(SP_ENOMEM, "grouping lists: out of memory");
}

void sp_cluster_free(sp_cluster *c) {
  free(c->max_weight);
  free(c->count);
  free(c->start);
  free(c->seen);
  free(c->touched);
  free(c->score);
  free(c->gone);
  free(c->order);
  free(c->assigned);
  free(c->sizes);
  free(c->entry_centroid);
  free(c->entry_weight);
  sp_buf_free(&c->block_terms);
  sp_buf_free(&c->numbers);
  *c = (sp_cluster){0};
}

static sp_err reserve_docs(sp_cluster *c, size_t n) {
  if (n <= c->docs_cap) return SP_OK;
  size_t cap = n + n / 2;
  free(c->order);
  free(c->assigned);
  free(c->sizes);
  c->order = malloc(cap * sizeof *c->order);
  c->assigned = malloc(cap * sizeof *c->assigned);
  c->sizes = malloc((cap + 2) * sizeof *c->sizes);
  c->docs_cap = cap;
  if (c->order && c->assigned && c->sizes) return SP_OK;
  c->docs_cap = 0;
  return sp_fail(SP_ENOMEM, "grouping lists: out of memory");
}

static sp_err reserve_entries(sp_cluster *c, size_t n) {
  if (n <= c->entries_cap) return SP_OK;
  free(c->entry_centroid);
  free(c->entry_weight);
  size_t cap = n + n / 2;
  c->entry_centroid = malloc(cap * sizeof *c->entry_centroid);
  c->entry_weight = malloc(cap * sizeof *c->entry_weight);
  c->entries_cap = cap;
  if (c->entry_centroid && c->entry_weight) return SP_OK;
  c->entries_cap = 0;
  return sp_fail(SP_ENOMEM, "grouping lists: out of memory");
}

/* splitmix64 (Steele, Lea, Flood, OOPSLA 2014): a stream of its own for every term. */
static uint64_t next_random(uint64_t *state) {
  uint64_t z = *state += 0x9e3779b97f4a7c15u;
  z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
  z = (z ^ z >> 27) * 0x94d049bb133111ebu;
  return z ^ z >> 31;
}

static int compare_u32(const void *a, const void *b) {
  uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
  return x < y ? -1 : x > y;
}

/* Draws n of the list's documents without replacement: order[0..n), ascending. Fewer
 * when their entries would pass the bound. */
static uint32_t draw_centroids(const sp_builder *b, sp_cluster *c, const sp_grouping *g,
                               uint32_t n, size_t *n_entries) {
  uint64_t state = b->o.params.seed * 0x9e3779b97f4a7c15u + g->term;
  for (uint32_t i = 0; i < g->n_docs; i++) c->order[i] = i;
  *n_entries = 0;
  for (uint32_t i = 0; i < n; i++) {
    uint64_t span = g->n_docs - i;
    uint32_t j = i + (uint32_t)((__uint128_t)next_random(&state) * span >> 64);
    uint32_t t = c->order[i];
    c->order[i] = c->order[j];
    c->order[j] = t;
    *n_entries += sp_build_doc(b, g->docs[c->order[i]]).n;
    if (*n_entries > SP_MAX_CENTROID_ENTRIES) {
      n = i + 1;
      break;
    }
  }
  qsort(c->order, n, sizeof *c->order, compare_u32);
  return n;
}

/* The centroids' vectors inverted: start[t] .. count[t] are term t's entries. Returns the
 * number of its terms, which touched[] lists. */
static uint32_t invert_centroids(const sp_builder *b, sp_cluster *c, const sp_grouping *g,
                                 uint32_t n) {
  uint32_t n_touched = 0, at = 0;
  for (uint32_t k = 0; k < n; k++) {
    sp_doc d = sp_build_doc(b, g->docs[c->order[k]]);
    for (uint32_t i = 0; i < d.n; i++) {
      uint32_t t = sp_doc_term(&d, b->term_bytes, i);
      if (c->count[t]++ == 0) c->touched[n_touched++] = t;
    }
    if (k % BREATHE_EVERY == 0) sp_build_breathe(b);
  }
  for (uint32_t i = 0; i < n_touched; i++) {
    uint32_t t = c->touched[i], size = c->count[t];
    c->start[t] = at;
    c->count[t] = at; /* grows to the end while the entries are filled in */
    at += size;
  }
  for (uint32_t k = 0; k < n; k++) {
    sp_doc d = sp_build_doc(b, g->docs[c->order[k]]);
    for (uint32_t i = 0; i < d.n; i++) {
      uint32_t t = sp_doc_term(&d, b->term_bytes, i), e = c->count[t]++;
      c->entry_centroid[e] = (uint16_t)k;
      c->entry_weight[e] = sp_build_weight(b, t, d.weights[i]);
    }
    if (k % BREATHE_EVERY == 0) sp_build_breathe(b);
  }
  return n_touched;
}

/* The centroid that is not gone and has the largest inner product with the document's
 * strongest terms. Partial sums only grow, so the first to reach the final maximum is
 * known when the last term is done. `otherwise`: none shares a term with it. */
static uint32_t nearest(const sp_builder *b, sp_cluster *c, uint32_t doc, uint32_t n,
                        uint32_t otherwise) {
  sp_top_view top = sp_top_of(&b->top, doc);
  float best = 0;
  uint32_t arg = otherwise;
  memset(c->score, 0, n * sizeof *c->score);
  for (uint32_t i = 0; i < b->top.doc_cut && top.weights[i]; i++) {
    uint32_t t = top.terms[i];
    float w = b->half[top.weights[i]];
    for (uint32_t e = c->start[t]; e < c->count[t]; e++) {
      uint32_t k = c->entry_centroid[e];
      float s = c->score[k] += w * c->entry_weight[e];
      if (s > best && !c->gone[k]) {
        best = s;
        arg = k;
      }
    }
  }
  return arg;
}

/* Assigns every document, then those of clusters that are too small once more. */
static void assign(const sp_builder *b, sp_cluster *c, const sp_grouping *g, uint32_t n) {
  memset(c->gone, 0, n * sizeof *c->gone);
  memset(c->sizes, 0, n * sizeof *c->sizes);
  for (uint32_t i = 0; i < g->n_docs; i++) {
    c->assigned[i] =
        nearest(b, c, g->docs[i], n, (uint32_t)((uint64_t)i * n / g->n_docs));
    c->sizes[c->assigned[i]]++;
    if (i % BREATHE_EVERY == 0) sp_build_breathe(b);
  }
  uint32_t left = UINT32_MAX; /* a centroid that stays */
  for (uint32_t k = 0; k < n; k++) {
    c->gone[k] = c->sizes[k] <= b->o.params.min_cluster_size;
    if (!c->gone[k]) left = k;
  }
  if (left == UINT32_MAX) { /* all too small: one block */
    memset(c->assigned, 0, g->n_docs * sizeof *c->assigned);
    return;
  }
  for (uint32_t i = 0; i < g->n_docs; i++)
    if (c->gone[c->assigned[i]]) c->assigned[i] = nearest(b, c, g->docs[i], n, left);
}

/* Sorts the documents by cluster (within one they stay ascending); empty ones vanish. */
static void arrange(sp_cluster *c, sp_grouping *g, uint32_t n) {
  memset(c->sizes, 0, (n + (size_t)1) * sizeof *c->sizes);
  for (uint32_t i = 0; i < g->n_docs; i++) c->sizes[c->assigned[i] + 1]++;
  for (uint32_t k = 0; k < n; k++) c->sizes[k + 1] += c->sizes[k];
  for (uint32_t i = 0; i < g->n_docs; i++)
    c->order[c->sizes[c->assigned[i]]++] = g->docs[i];
  memcpy(g->docs, c->order, g->n_docs * sizeof *g->docs);
  /* sizes[k] is now where cluster k ends */
  uint32_t n_blocks = 0, from = 0;
  for (uint32_t k = 0; k < n; k++) {
    uint32_t end = c->sizes[k];
    if (end > from) c->sizes[n_blocks++] = from;
    from = end;
  }
  c->sizes[n_blocks] = g->n_docs;
  g->block_start = c->sizes;
  g->n_blocks = n_blocks;
}

sp_err sp_cluster_group(const sp_builder *b, sp_cluster *c, sp_grouping *g) {
  sp_err err = reserve_docs(c, g->n_docs);
  if (err) return err;
  double wanted = b->o.params.centroid_fraction * g->n_docs;
  uint32_t n = wanted < 1 ? 1 : wanted > SP_MAX_BLOCKS ? SP_MAX_BLOCKS : (uint32_t)wanted;
  if (g->n_docs <= SP_SMALL_LIST) n = 1;
  if (n == 1) {
    c->sizes[0] = 0;
    c->sizes[1] = g->n_docs;
    g->block_start = c->sizes;
    g->n_blocks = 1;
    return SP_OK;
  }
  size_t n_entries;
  n = draw_centroids(b, c, g, n, &n_entries);
  err = reserve_entries(c, n_entries);
  if (err) return err;
  uint32_t n_touched = invert_centroids(b, c, g, n);
  assign(b, c, g, n);
  for (uint32_t i = 0; i < n_touched; i++)
    c->count[c->touched[i]] = c->start[c->touched[i]] = 0;
  arrange(c, g, n);
  return SP_OK;
}
