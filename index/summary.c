/* index/summary.c - what stands for a block, and a whole list as bytes. */
#include <stdlib.h>
#include <string.h>

#include "index/cluster.h"

enum { BREATHE_EVERY = 256 };

/* One entry of a block's summary before quantisation. */
typedef struct entry {
  uint32_t term;
  uint16_t weight; /* f16 */
  uint16_t block;
  float energy; /* weight times the expected query weight */
} entry;

/* Takes one vector into the maximum. f16 patterns order as their values do. Without
 * branches: which terms are new can't be guessed. */
static uint32_t max_narrow(uint16_t *restrict most, uint32_t *restrict touched,
                           uint32_t n, const uint16_t *terms, const uint16_t *weights,
                           uint32_t n_new) {
  for (uint32_t i = 0; i < n_new; i++) {
    uint16_t t = terms[i], w = weights[i], before = most[t];
    touched[n] = t;
    n += before == 0;
    most[t] = w > before ? w : before;
  }
  return n;
}

static uint32_t max_wide(uint16_t *restrict most, uint32_t *restrict touched, uint32_t n,
                         const uint32_t *terms, const uint16_t *weights, uint32_t n_new) {
  for (uint32_t i = 0; i < n_new; i++) {
    uint32_t t = terms[i];
    uint16_t w = weights[i], before = most[t];
    touched[n] = t;
    n += before == 0;
    most[t] = w > before ? w : before;
  }
  return n;
}

/* Sends for a vector that is needed soon: the documents of a block lie far apart. */
static void prefetch(const sp_builder *b, uint32_t doc) {
  sp_doc d = sp_build_doc(b, doc);
  const char *at = d.terms;
  size_t bytes = (size_t)d.n * (b->term_bytes + 2);
  for (size_t i = 0; i < bytes; i += 64) __builtin_prefetch(at + i);
}

/* Coordinate-wise maximum of the block's documents: max_weight[], and its terms in
 * touched[]. */
static uint32_t take_maximum(const sp_builder *b, sp_cluster *c, const uint32_t *docs,
                             uint32_t n) {
  uint32_t n_touched = 0;
  for (uint32_t i = 0; i < n; i++) {
    if (i + 1 < n) prefetch(b, docs[i + 1]);
    sp_doc d = sp_build_doc(b, docs[i]);
    n_touched =
        b->term_bytes == 2
            ? max_narrow(c->max_weight, c->touched, n_touched, d.terms, d.weights, d.n)
            : max_wide(c->max_weight, c->touched, n_touched, d.terms, d.weights, d.n);
    if (i % BREATHE_EVERY == BREATHE_EVERY - 1) sp_build_breathe(b);
  }
  return n_touched;
}

static int by_energy(const void *a, const void *b) {
  const entry *x = a, *y = b;
  if (x->energy != y->energy) return x->energy > y->energy ? -1 : 1;
  return x->term < y->term ? -1 : x->term > y->term;
}

/* Buckets of energies, largest first: an exponent and five bits of mantissa each. What is
 * 256 times below the largest shares the last one. */
enum { N_BUCKETS = 256, BUCKET_SHIFT = 18 };

static uint32_t bits_of(float x) {
  uint32_t bits;
  memcpy(&bits, &x, sizeof bits);
  return bits >> BUCKET_SHIFT;
}

static uint32_t bucket_of(float energy, uint32_t top) {
  uint32_t below = top - bits_of(energy);
  return below < N_BUCKETS ? below : N_BUCKETS - 1;
}

/* Moves to the front of at[0..n) the largest entries that together hold `share` of the
 * energy, the one that crosses it included, and returns their number. Only the bucket
 * that crosses needs sorting. `scratch` has room for n. */
static uint32_t keep_energy(entry *at, uint32_t n, double share, entry *scratch) {
  double sums[N_BUCKETS] = {0}, total = 0, sum = 0;
  uint32_t top = 0, k = 0;
  for (uint32_t i = 0; i < n; i++) {
    uint32_t bits = bits_of(at[i].energy);
    if (bits > top) top = bits;
  }
  for (uint32_t i = 0; i < n; i++) sums[bucket_of(at[i].energy, top)] += at[i].energy;
  for (uint32_t i = 0; i < N_BUCKETS; i++) total += sums[i];
  double wanted = share * total;
  while (k < N_BUCKETS - 1 && sum + sums[k] < wanted) sum += sums[k++];

  /* Above bucket k to the front, below to the back, bucket k itself in between. */
  uint32_t kept = 0, n_crossing = 0, n_rest = 0;
  entry *crossing = scratch;
  for (uint32_t i = 0; i < n; i++) {
    entry x = at[i];
    uint32_t bucket = bucket_of(x.energy, top);
    if (bucket < k)
      at[kept++] = x;
    else if (bucket == k)
      crossing[n_crossing++] = x;
    else
      scratch[n - ++n_rest] = x;
  }
  qsort(crossing, n_crossing, sizeof *crossing, by_energy);
  memcpy(at + kept, scratch, n_crossing * sizeof *at);
  memcpy(at + kept + n_crossing, scratch + n - n_rest, n_rest * sizeof *at);
  for (uint32_t end = kept + n_crossing; kept < end && sum < wanted;)
    sum += at[kept++].energy;
  return kept;
}

/* The block's summary: appends its entries and its min, step and cut. */
static sp_err summarize(const sp_builder *b, sp_cluster *c, const uint32_t *docs,
                        uint32_t n, uint16_t block) {
  uint32_t n_all = take_maximum(b, c, docs, n);
  size_t before = c->block_terms.n;
  sp_err err = sp_buf_reserve(&c->block_terms, before + 2 * n_all * sizeof(entry));
  if (!err) err = sp_buf_reserve(&c->numbers, c->numbers.n + 3 * sizeof(float));
  entry *at = (entry *)(void *)(c->block_terms.data + before);
  for (uint32_t i = 0; i < n_all && !err; i++) {
    uint32_t t = c->touched[i];
    at[i] = (entry){t, c->max_weight[t], block, sp_build_weight(b, t, c->max_weight[t])};
  }
  for (uint32_t i = 0; i < n_all; i++) c->max_weight[c->touched[i]] = 0;
  if (err) return err;

  double share = b->o.params.summary_energy;
  uint32_t kept = share < 1 ? keep_energy(at, n_all, share, at + n_all) : n_all;
  uint16_t low = UINT16_MAX, high = 0, cut = 0;
  for (uint32_t i = 0; i < kept; i++) {
    if (at[i].weight < low) low = at[i].weight;
    if (at[i].weight > high) high = at[i].weight;
  }
  for (uint32_t i = kept; i < n_all; i++)
    if (at[i].weight > cut) cut = at[i].weight;
  float numbers[3] = {kept ? b->half[low] : 0, 0, b->half[cut]};
  numbers[1] = kept ? (b->half[high] - b->half[low]) / 255 : 0;
  c->block_terms.n = before + kept * sizeof(entry);
  return sp_buf_append(&c->numbers, numbers, sizeof numbers);
}

/* Equal weights have step 0, and code 0 means the smallest. */
static uint8_t code_of(float w, const float *numbers) {
  if (!(numbers[1] > 0)) return 0;
  float code = (w - numbers[0]) / numbers[1] + 0.5f;
  return (uint8_t)(code > 255 ? 255 : code);
}

/* Counts the entries of each term; the distinct terms, ascending, come into touched[]. */
static uint32_t count_terms(const sp_builder *b, sp_cluster *c, const entry *at,
                            size_t n) {
  for (size_t i = 0; i < n; i++) {
    c->count[at[i].term]++;
    c->seen[at[i].term / 64] |= (uint64_t)1 << at[i].term % 64;
  }
  uint32_t n_terms = 0;
  for (uint32_t w = 0; w <= b->n_terms / 64; w++)
    for (; c->seen[w]; c->seen[w] &= c->seen[w] - 1)
      c->touched[n_terms++] = w * 64 + (uint32_t)__builtin_ctzll(c->seen[w]);
  return n_terms;
}

/* Writes the inverted summaries behind `h` in the list's bytes; entries are in the order
 * of their blocks already. */
static void invert(const sp_builder *b, sp_cluster *c, const sp_list *l, const entry *at,
                   size_t n) {
  const float *numbers = (const void *)c->numbers.data;
  uint32_t *start = (uint32_t *)l->summary_start, sum = 0;
  for (uint32_t i = 0; i < l->n_summary_terms; i++) {
    uint32_t t = c->touched[i], size = c->count[t];
    start[i] = sum;
    c->count[t] = sum;
    sum += size;
    if (b->term_bytes == 2)
      ((uint16_t *)l->summary_terms)[i] = (uint16_t)t;
    else
      ((uint32_t *)l->summary_terms)[i] = t;
  }
  start[l->n_summary_terms] = sum;
  for (size_t i = 0; i < n; i++) {
    uint32_t e = c->count[at[i].term]++;
    ((uint16_t *)l->summary_block)[e] = at[i].block;
    ((uint8_t *)l->summary_code)[e] =
        code_of(b->half[at[i].weight], numbers + 3 * (size_t)at[i].block);
  }
  for (uint32_t k = 0; k < l->n_blocks; k++) {
    ((float *)l->block_min)[k] = numbers[3 * k];
    ((float *)l->block_step)[k] = numbers[3 * k + 1];
    ((float *)l->block_cut)[k] = numbers[3 * k + 2];
  }
  for (uint32_t i = 0; i < l->n_summary_terms; i++) c->count[c->touched[i]] = 0;
}

sp_err sp_summary_write(const sp_builder *b, sp_cluster *c, const sp_grouping *g,
                        sp_buf *out) {
  sp_buf_clear(&c->block_terms);
  sp_buf_clear(&c->numbers);
  static const float none[3] = {0};
  if (g->n_blocks == 1) { /* there is nothing to choose from: no summary */
    sp_err err = sp_buf_append(&c->numbers, none, sizeof none);
    if (err) return err;
  }
  for (uint32_t k = 0; k < g->n_blocks && g->n_blocks > 1; k++) {
    uint32_t from = g->block_start[k], to = g->block_start[k + 1];
    sp_err err = summarize(b, c, g->docs + from, to - from, (uint16_t)k);
    if (err) return err;
  }
  const entry *at = (const void *)c->block_terms.data;
  size_t n = c->block_terms.n / sizeof *at;
  if (n > UINT32_MAX)
    return sp_fail(SP_EINVAL, "%s: the summaries of term %u are too large", b->path,
                   g->term);
  sp_disk_list h = {.term = g->term,
                    .n_docs = g->n_docs,
                    .n_all_docs = g->n_all_docs,
                    .n_blocks = g->n_blocks,
                    .n_entries = (uint32_t)n,
                    .max_weight = g->max_weight,
                    .max_discarded = g->max_discarded};
  h.n_summary_terms = count_terms(b, c, at, n);
  uint64_t bytes = sp_list_bytes(&h, b->term_bytes);
  if (bytes > UINT32_MAX / 2)
    return sp_fail(SP_EINVAL, "%s: the list of term %u is too large", b->path, g->term);
  h.bytes = (uint32_t)bytes;
  sp_err err = sp_buf_reserve(out, out->n + bytes);
  if (err) return err;
  uint8_t *to = (uint8_t *)out->data + out->n;
  memcpy(to, &h, sizeof h);
  sp_list l;
  sp_list_point(to, b->term_bytes, &l);
  memcpy((uint32_t *)l.docs, g->docs, 4 * (size_t)g->n_docs);
  memcpy((uint32_t *)l.block_start, g->block_start, 4 * ((size_t)g->n_blocks + 1));
  invert(b, c, &l, at, n);
  out->n += bytes;
  return SP_OK;
}
