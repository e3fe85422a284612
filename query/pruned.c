/* query/pruned.c - search of one sealed segment by its inverted lists: documents are
 * estimated from the lists, and the best of them scored against their vectors.
 *
 * The lists of the query's terms are added up document by document, window by window, so
 * that the sums stay in the cache; documents whose sums are large are then scored by their
 * vectors (Li et al., "SINDI", arXiv 2509.08395, search so too). Lists are pruned: what a
 * document without a posting has of the term is anything from 0 to the largest weight that
 * was discarded; a fixed share of that is assumed. */
#include <stdlib.h>
#include <string.h>

#include "query/searcher.h"

enum {
  N_BUCKETS = 256, /* of estimates, when candidates are put in order */
  AHEAD = 12,      /* candidates whose vectors are on their way while one is scored */
  PIECE = 256,     /* postings between looks at what a candidate needs */
  TAKEN = PIECE + 16,
  LINE = 64,
  PREFETCH_BYTES = 12 * LINE
};

/* Of the largest discarded weight, what a document without a posting is taken to have: by
 * measurement on 176,000 learned vectors. Smaller shares find less in the same time, larger
 * ones favour the documents that no list says anything of. */
static const float UNSEEN_SHARE = 0.4f;

/* --- which lists --- */

static sp_err reserve_lists(sp_searcher *s, uint32_t n) {
  if (n <= s->lists_cap) return SP_OK;
  sp_open_list *lists = realloc(s->lists, n * sizeof *lists);
  if (!lists) return sp_fail(SP_ENOMEM, "no memory for %u inverted lists", n);
  s->lists = lists;
  s->lists_cap = n;
  return SP_OK;
}

static sp_err reserve_candidates(sp_searcher *s, size_t n) {
  if (n <= s->candidates_cap) return SP_OK;
  sp_candidate *candidates = realloc(s->candidates, n * sizeof *candidates);
  if (candidates) s->candidates = candidates;
  uint32_t *order = realloc(s->order, n * sizeof *order);
  if (order) s->order = order;
  if (!candidates || !order) return sp_fail(SP_ENOMEM, "no memory for %zu candidates", n);
  s->candidates_cap = n;
  return SP_OK;
}

static void open_list(sp_searcher *s, const sp_segment *seg, uint32_t term) {
  sp_open_list *l = &s->lists[s->n_lists];
  if (!sp_segment_list(seg, term, &l->list)) return;
  float weight = s->table[term];
  l->scale = weight * l->list.step;
  l->shift = UNSEEN_SHARE * weight * l->list.max_discarded;
  l->run = 0;
  s->unseen += l->shift;
  s->n_postings += l->list.n_docs;
  s->n_lists++;
}

/* Of a list that is not read, all is unseen. */
static void pass_over(sp_searcher *s, const sp_segment *seg, uint32_t term) {
  sp_list l;
  if (sp_segment_list(seg, term, &l))
    s->unseen += UNSEEN_SHARE * s->table[term] * l.max_weight;
}

/* Opens the lists of the query's `query_cut` strongest terms (0: of all), strongest first. */
static sp_err open_lists(sp_searcher *s, const sp_segment *seg, uint32_t query_cut) {
  if (query_cut == 0 || query_cut > s->n) query_cut = s->n;
  sp_err err = reserve_lists(s, query_cut);
  if (!err) err = sp_topk_reset(&s->strongest, query_cut);
  if (err) return err;
  for (uint32_t i = 0; i < s->n; i++)
    sp_topk_offer(&s->strongest, sp_rank_key(s->weights[i], s->terms[i]));
  uint64_t weakest = s->strongest.floor;
  sp_topk_sort(&s->strongest);

  s->n_lists = 0;
  s->n_postings = 0;
  s->unseen = 0;
  for (uint32_t i = 0; i < query_cut; i++)
    open_list(s, seg, sp_rank_key_doc(s->strongest.keys[i]));
  for (uint32_t i = 0; i < s->n; i++)
    if (sp_rank_key(s->weights[i], s->terms[i]) < weakest) pass_over(s, seg, s->terms[i]);
  return reserve_candidates(s, s->n_postings < seg->n_docs ? s->n_postings : seg->n_docs);
}

/* --- estimates --- */

/* The first window that some list has not been through; n_windows: none. */
static uint32_t next_window(const sp_searcher *s, uint32_t n_windows) {
  uint32_t next = n_windows;
  for (uint32_t i = 0; i < s->n_lists; i++) {
    const sp_open_list *l = &s->lists[i];
    if (l->run < l->list.n_runs && l->list.run_window[l->run] < next)
      next = l->list.run_window[l->run];
  }
  return next;
}

/* The stretch of a list within a window. */
typedef struct stretch {
  const uint16_t *docs;
  const uint8_t *codes;
  uint32_t n;
} stretch;

static stretch find_stretch(sp_open_list *l, uint32_t window) {
  const sp_list *list = &l->list;
  while (l->run < list->n_runs && list->run_window[l->run] < window) l->run++;
  if (l->run == list->n_runs || list->run_window[l->run] != window)
    return (stretch){.n = 0};
  uint32_t first = list->run_start[l->run];
  return (stretch){list->docs + first, list->codes + first,
                   list->run_start[l->run + 1] - first};
}

/* Adds the window's postings up. */
static void add_up(sp_searcher *s, uint32_t window) {
  for (uint32_t i = 0; i < s->n_lists; i++) {
    sp_open_list *l = &s->lists[i];
    stretch p = find_stretch(l, window);
    s->kernels->add_postings(p.docs, p.codes, p.n, l->scale, l->shift, s->sums);
  }
}

/* What an estimate needs: a share of the k-th best of the estimates so far, at most all of
 * it, so that k candidates remain; or of the k-th score where segments before have one. */
static float least_estimate(const sp_searcher *s, float heap_factor) {
  float a = sp_topk_threshold(&s->likely) * (heap_factor < 1 ? heap_factor : 1);
  float b = sp_topk_threshold(&s->best) * heap_factor;
  return a > b ? a : b;
}

/* Takes the window's sums away, and what is good enough as candidates. A document is in
 * the first of its lists only: then its sum is gone. */
static void take_candidates(sp_searcher *s, const sp_segment *seg, uint32_t window,
                            float heap_factor) {
  uint16_t docs[TAKEN];
  float sums[TAKEN];
  for (uint32_t i = 0; i < s->n_lists; i++) {
    stretch p = find_stretch(&s->lists[i], window);
    if (p.n) s->lists[i].run++;
    for (uint32_t from = 0; from < p.n; from += PIECE) {
      uint32_t n = p.n - from < PIECE ? p.n - from : PIECE;
      float least = least_estimate(s, heap_factor) - s->unseen;
      n = s->kernels->take_sums(p.docs + from, n, least, s->sums, docs, sums);
      for (uint32_t k = 0; k < n; k++) {
        uint32_t doc = window * SP_WINDOW_DOCS + docs[k];
        if (sp_segment_is_deleted(seg, doc)) continue;
        float estimate = sums[k] + s->unseen;
        s->candidates[s->n_candidates++] = (sp_candidate){doc, estimate};
        sp_topk_offer(&s->likely, sp_rank_key(estimate, seg->first_doc + doc));
      }
    }
  }
}

/* --- scores --- */

static uint32_t bucket_of(float x, float scale) {
  float b = x * scale;
  return b < (float)(N_BUCKETS - 1) ? (uint32_t)b : N_BUCKETS - 1;
}

/* Writes the candidates that are still good enough to s->order, those with the best
 * estimates first: a counting sort over N_BUCKETS equal parts of the range. Returns how
 * many. */
static uint32_t order_candidates(sp_searcher *s, float least) {
  float most = 0;
  uint32_t n = 0;
  for (uint32_t i = 0; i < s->n_candidates; i++) {
    sp_candidate c = s->candidates[i];
    if (c.estimate < least) continue;
    if (c.estimate > most) most = c.estimate;
    s->candidates[n++] = c;
  }
  s->n_candidates = n;
  float scale = most > least ? (float)N_BUCKETS / (most - least) : 0;
  uint32_t next[N_BUCKETS] = {0}, sum = 0;
  for (uint32_t i = 0; i < n; i++)
    next[bucket_of(s->candidates[i].estimate - least, scale)]++;
  for (uint32_t b = N_BUCKETS; b-- > 0;) {
    uint32_t size = next[b];
    next[b] = sum;
    sum += size;
  }
  for (uint32_t i = 0; i < n; i++)
    s->order[next[bucket_of(s->candidates[i].estimate - least, scale)]++] = i;
  return n;
}

/* All of a short vector; of a long one what the processor does not fetch on its own. */
static void prefetch(const sp_doc *doc, uint32_t term_bytes) {
  const char *at = doc->terms, *end = at + (size_t)doc->n * (term_bytes + 2);
  if (end > at + PREFETCH_BYTES) end = at + PREFETCH_BYTES;
  for (; at < end; at += LINE) __builtin_prefetch(at);
}

static void score_candidates(sp_searcher *s, const sp_segment *seg, float heap_factor) {
  uint32_t n = order_candidates(s, least_estimate(s, heap_factor));
  sp_doc ahead[AHEAD];
  for (uint32_t i = 0; i < n + AHEAD; i++) {
    if (i >= AHEAD) { /* before its place is taken */
      sp_candidate c = s->candidates[s->order[i - AHEAD]];
      if (c.estimate >= heap_factor * sp_topk_threshold(&s->best)) {
        float score = sp_searcher_score(s, seg, ahead[i % AHEAD]);
        s->stats.n_docs_scored++;
        if (score > 0)
          sp_topk_offer(&s->best, sp_rank_key(score, seg->first_doc + c.doc));
      }
    }
    if (i < n) {
      ahead[i % AHEAD] = sp_segment_doc(seg, s->candidates[s->order[i]].doc);
      prefetch(&ahead[i % AHEAD], seg->term_bytes);
    }
  }
}

sp_err sp_search_pruned(sp_searcher *s, const sp_segment *seg,
                        const sp_search_params *params) {
  sp_err err = open_lists(s, seg, params->query_cut);
  if (err) return err;
  s->stats.n_lists += s->n_lists;
  s->stats.n_postings += s->n_postings;
  s->n_candidates = 0;
  uint32_t n_windows = seg->n_docs / SP_WINDOW_DOCS + 1, window;
  while ((window = next_window(s, n_windows)) < n_windows) {
    add_up(s, window);
    take_candidates(s, seg, window, params->heap_factor);
  }
  s->stats.n_candidates += s->n_candidates;
  score_candidates(s, seg, params->heap_factor);
  return SP_OK;
}
