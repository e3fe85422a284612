/* query/pruned.c - block-pruning search of one sealed segment (Bruch, Nardini, Rulli,
 * Venturini: SIGIR 2024, algorithm 2), with one change: the blocks of all lists are
 * visited together, the best estimates first, so that the k-th score is high early and
 * the rest can be left out at once. */
#include <stdlib.h>
#include <string.h>

#include "query/searcher.h"

enum {
  N_BUCKETS = 1024, /* of estimates, when blocks are put in order */
  AHEAD = 12,       /* documents whose vectors are on their way while one is scored */
  LINE = 64,
  PREFETCH_BYTES = 12 * LINE,
  MAX_LISTS = 0x10000 /* the number of a list must fit into 16 bits */
};

/* Documents that wait for being scored, a ring. */
typedef struct waiting {
  sp_doc docs[AHEAD];
  uint32_t ids[AHEAD];
  uint32_t n_in, n_out;
} waiting;

/* --- which lists --- */

static sp_err reserve_lists(sp_searcher *s, uint32_t n) {
  if (n <= s->lists_cap) return SP_OK;
  sp_open_list *lists = realloc(s->lists, n * sizeof *lists);
  if (!lists) return sp_fail(SP_ENOMEM, "no memory for %u inverted lists", n);
  s->lists = lists;
  s->lists_cap = n;
  return SP_OK;
}

static sp_err reserve_blocks(sp_searcher *s, uint32_t n) {
  if (n <= s->blocks_cap) return SP_OK;
  float *estimates = realloc(s->estimates, n * sizeof *estimates);
  if (estimates) s->estimates = estimates;
  uint32_t *order = realloc(s->order, n * sizeof *order);
  if (order) s->order = order;
  if (!estimates || !order) return sp_fail(SP_ENOMEM, "no memory for %u blocks", n);
  s->blocks_cap = n;
  return SP_OK;
}

/* Opens the lists of the query's `query_cut` strongest terms (0: of all). The counts are
 * added to. */
static sp_err open_lists(sp_searcher *s, const sp_segment *seg, uint32_t query_cut,
                         uint32_t *n_lists, uint32_t *n_blocks) {
  if (query_cut == 0 || query_cut > s->n) query_cut = s->n;
  if (query_cut > MAX_LISTS) query_cut = MAX_LISTS;
  sp_err err = reserve_lists(s, query_cut);
  if (!err) err = sp_topk_reset(&s->strongest, query_cut);
  if (err) return err;
  for (uint32_t i = 0; i < s->n; i++)
    sp_topk_offer(&s->strongest, sp_rank_key(s->weights[i], s->terms[i]));

  uint64_t total = 0;
  for (uint32_t i = 0; i < s->strongest.n; i++) {
    sp_open_list *l = &s->lists[*n_lists];
    if (!sp_segment_list(seg, sp_rank_key_doc(s->strongest.keys[i]), &l->list)) continue;
    ++*n_lists;
    total += l->list.n_summary_terms ? l->list.n_blocks : 0;
  }
  if (total > UINT32_MAX) return sp_fail(SP_EINVAL, "too many blocks for one search");
  *n_blocks = (uint32_t)total;
  return reserve_blocks(s, *n_blocks);
}

/* --- estimates --- */

/* The first position at or after `from` whose term is not below `term`. */
static uint32_t lower_bound(const sp_list *l, uint32_t term_bytes, uint32_t from,
                            uint32_t term) {
  const uint16_t *narrow = l->summary_terms;
  const uint32_t *wide = l->summary_terms;
  uint32_t n = l->n_summary_terms - from;
  while (n > 0) {
    uint32_t half = n / 2, at = from + half;
    uint32_t there = term_bytes == 2 ? narrow[at] : wide[at];
    from = there < term ? at + 1 : from;
    n = there < term ? n - half - 1 : half;
  }
  return from;
}

static void estimate_blocks(const sp_searcher *s, const sp_segment *seg,
                            sp_open_list *open) {
  const sp_list *l = &open->list;
  memset(open->estimates, 0, l->n_blocks * sizeof *open->estimates);
  uint32_t at = 0;
  for (uint32_t i = 0; i < s->n && at < l->n_summary_terms; i++) {
    at = lower_bound(l, seg->term_bytes, at, s->terms[i]);
    if (at == l->n_summary_terms) break;
    uint32_t there = seg->term_bytes == 2 ? ((const uint16_t *)l->summary_terms)[at]
                                          : ((const uint32_t *)l->summary_terms)[at];
    if (there != s->terms[i]) continue;
    uint32_t begin = l->summary_start[at], end = l->summary_start[at + 1];
    s->kernels->add_summaries(l->summary_block + begin, l->summary_code + begin,
                              end - begin, l->block_min, l->block_step, s->weights[i],
                              open->estimates);
  }
}

/* --- order --- */

static uint32_t bucket_of(float estimate, float scale) {
  float b = estimate * scale;
  return b < (float)(N_BUCKETS - 1) ? (uint32_t)b : N_BUCKETS - 1;
}

/* Writes all blocks to s->order, those with the best estimates first: a counting sort
 * over N_BUCKETS equal parts of the range, within a part by list and block. */
static void order_blocks(sp_searcher *s, uint32_t n_lists, uint32_t n_blocks) {
  float most = 0;
  for (uint32_t i = 0; i < n_blocks; i++)
    if (s->estimates[i] > most) most = s->estimates[i];
  float scale = most > 0 ? (float)N_BUCKETS / most : 0;

  uint32_t next[N_BUCKETS] = {0};
  for (uint32_t i = 0; i < n_blocks; i++) next[bucket_of(s->estimates[i], scale)]++;
  uint32_t sum = 0;
  for (uint32_t b = N_BUCKETS; b-- > 0;) {
    uint32_t n = next[b];
    next[b] = sum;
    sum += n;
  }
  for (uint32_t l = 0; l < n_lists; l++)
    for (uint32_t b = 0; b < s->lists[l].list.n_blocks; b++)
      s->order[next[bucket_of(s->lists[l].estimates[b], scale)]++] = l << 16 | b;
}

/* --- documents --- */

static void score_next(sp_searcher *s, const sp_segment *seg, waiting *w) {
  uint32_t at = w->n_out++ % AHEAD;
  float score = sp_searcher_score(s, seg, w->docs[at]);
  if (score > 0) sp_topk_offer(&s->best, sp_rank_key(score, seg->first_doc + w->ids[at]));
}

/* All of a short vector; of a long one what the processor does not fetch on its own. */
static void prefetch(const sp_doc *doc, uint32_t term_bytes) {
  const char *at = doc->terms, *end = at + (size_t)doc->n * (term_bytes + 2);
  if (end > at + PREFETCH_BYTES) end = at + PREFETCH_BYTES;
  for (; at < end; at += LINE) __builtin_prefetch(at);
}

static bool first_visit(sp_searcher *s, uint32_t doc) {
  uint64_t *word = &s->visited[doc / 64], bit = (uint64_t)1 << doc % 64;
  if (*word & bit) return false;
  if (*word == 0) s->touched[s->n_touched++] = doc / 64;
  *word |= bit;
  return true;
}

/* Sends for the documents of a block that were not seen before, and scores those that
 * arrived meanwhile. */
static void visit_block(sp_searcher *s, const sp_segment *seg, const sp_list *l,
                        uint32_t block, waiting *w) {
  s->stats.n_blocks_visited++;
  for (uint32_t i = l->block_start[block]; i < l->block_start[block + 1]; i++) {
    uint32_t id = l->docs[i];
    if (!first_visit(s, id) || sp_segment_is_deleted(seg, id)) continue;
    if (w->n_in - w->n_out == AHEAD) score_next(s, seg, w);
    sp_doc doc = sp_segment_doc(seg, id);
    prefetch(&doc, seg->term_bytes);
    w->docs[w->n_in % AHEAD] = doc;
    w->ids[w->n_in++ % AHEAD] = id;
    s->stats.n_docs_scored++;
  }
}

/* Lists without summaries are short: all their documents are visited, which also gives the
 * k-th score a good start. Leaves the others in s->lists and returns their number. */
static uint32_t visit_plain_lists(sp_searcher *s, const sp_segment *seg, uint32_t n_lists,
                                  waiting *w) {
  uint32_t n = 0;
  for (uint32_t i = 0; i < n_lists; i++) {
    const sp_list *l = &s->lists[i].list;
    if (l->n_summary_terms) {
      s->lists[n++] = s->lists[i];
      continue;
    }
    s->stats.n_blocks += l->n_blocks;
    for (uint32_t b = 0; b < l->n_blocks; b++) visit_block(s, seg, l, b, w);
  }
  return n;
}

sp_err sp_search_pruned(sp_searcher *s, const sp_segment *seg,
                        const sp_search_params *params) {
  uint32_t n_lists = 0, n_blocks = 0;
  sp_err err = open_lists(s, seg, params->query_cut, &n_lists, &n_blocks);
  if (err) return err;
  waiting w = {.n_in = 0};
  s->stats.n_lists += n_lists;
  n_lists = visit_plain_lists(s, seg, n_lists, &w);
  float *estimates = s->estimates;
  for (uint32_t i = 0; i < n_lists; i++) {
    s->lists[i].estimates = estimates;
    estimate_blocks(s, seg, &s->lists[i]);
    estimates += s->lists[i].list.n_blocks;
  }
  order_blocks(s, n_lists, n_blocks);
  s->stats.n_blocks += n_blocks;

  for (uint32_t i = 0; i < n_blocks; i++) {
    const sp_open_list *open = &s->lists[s->order[i] >> 16];
    uint32_t block = s->order[i] & 0xffff;
    if (open->estimates[block] < params->heap_factor * sp_topk_threshold(&s->best))
      continue;
    visit_block(s, seg, &open->list, block, &w);
  }
  while (w.n_out != w.n_in) score_next(s, seg, &w);

  for (uint32_t i = 0; i < s->n_touched; i++) s->visited[s->touched[i]] = 0;
  s->n_touched = 0;
  return SP_OK;
}
