/* query/search.c - from a query vector to its hits: checks, prepares, goes through the
 * segments. */
#include "query/search.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "query/searcher.h"

sp_search_params sp_search_defaults(void) {
  return (sp_search_params){.k = 10, .exact = false, .query_cut = 0, .heap_factor = 0.8f};
}

sp_err sp_searcher_new(const sp_snapshot *snapshot, sp_searcher **out) {
  *out = NULL;
  /* aligned as the short query inside wants it; the size is a multiple of that */
  sp_searcher *s = aligned_alloc(_Alignof(sp_searcher), sizeof *s);
  if (!s) return sp_fail(SP_ENOMEM, "no memory for a search");
  memset(s, 0, sizeof *s);
  s->snapshot = snapshot;
  s->kernels = sp_sparse_kernels_get(sp_cpu_detect());

  for (uint32_t i = 0; i < sp_snapshot_n_segments(snapshot); i++) {
    const sp_segment *seg = sp_snapshot_segment(snapshot, i);
    uint32_t n = seg->term_bytes == 2 ? UINT16_MAX + 1 : seg->n_terms;
    if (n > s->n_table) s->n_table = n;
  }
  s->table = calloc((size_t)s->n_table + 1, sizeof *s->table);
  s->sums = calloc(SP_WINDOW_DOCS, sizeof *s->sums);
  if (!s->table || !s->sums) {
    sp_searcher_free(s);
    return sp_fail(SP_ENOMEM, "no memory for searching %u terms", s->n_table);
  }
  *out = s;
  return SP_OK;
}

void sp_searcher_free(sp_searcher *s) {
  if (!s) return;
  free(s->terms);
  free(s->weights);
  free(s->table);
  sp_topk_free(&s->best);
  sp_topk_free(&s->strongest);
  sp_topk_free(&s->likely);
  free(s->lists);
  free(s->sums);
  free(s->candidates);
  free(s->order);
  free(s);
}

static sp_err check(const sp_vec *query, const sp_search_params *params) {
  if (params->k < 1 || params->k > SP_MAX_K)
    return sp_fail(SP_EINVAL, "k is %u, not from 1 to %d", params->k, SP_MAX_K);
  if (!(params->heap_factor >= 0) || isinf(params->heap_factor))
    return sp_fail(SP_EINVAL, "heap_factor is %g, not a number from 0 up",
                   (double)params->heap_factor);
  for (uint32_t i = 0; i < query->n; i++)
    if (!(query->weights[i] >= 0 && query->weights[i] <= SP_MAX_QUERY_WEIGHT))
      return sp_fail(
          SP_EINVAL, "the query's weight of term %u is %g, not a number from 0 to %g",
          query->terms[i], (double)query->weights[i], (double)SP_MAX_QUERY_WEIGHT);
  return SP_OK;
}

/* Copies what counts of the query and spreads it over the table. */
static sp_err prepare(sp_searcher *s, const sp_vec *query) {
  if (query->n > s->cap) {
    uint32_t *terms = realloc(s->terms, query->n * sizeof *terms);
    if (terms) s->terms = terms;
    float *weights = realloc(s->weights, query->n * sizeof *weights);
    if (weights) s->weights = weights;
    if (!terms || !weights)
      return sp_fail(SP_ENOMEM, "no memory for a query of %u terms", query->n);
    s->cap = query->n;
  }
  s->n = 0;
  for (uint32_t i = 0; i < query->n; i++) {
    if (query->terms[i] >= s->n_table || !(query->weights[i] > 0)) continue;
    s->terms[s->n] = query->terms[i];
    s->weights[s->n++] = query->weights[i];
    s->table[query->terms[i]] = query->weights[i];
  }
  s->is_short = sp_short_query_set(&s->short_query, s->terms, s->n);
  return SP_OK;
}

static void write_hits(sp_searcher *s, sp_hit *hits, uint32_t *n_hits) {
  sp_topk_sort(&s->best);
  *n_hits = s->best.n;
  for (uint32_t i = 0; i < s->best.n; i++)
    hits[i] =
        (sp_hit){sp_rank_key_doc(s->best.keys[i]), sp_rank_key_score(s->best.keys[i])};
}

sp_err sp_search(sp_searcher *s, const sp_vec *query, const sp_search_params *params,
                 sp_hit *hits, uint32_t *n_hits, sp_search_stats *stats) {
  *n_hits = 0;
  s->stats = (sp_search_stats){0};
  sp_err err = check(query, params);
  if (!err) err = sp_topk_reset(&s->best, params->k);
  if (!err) err = sp_topk_reset(&s->likely, params->k);
  if (!err) err = prepare(s, query);
  if (err) return err;

  for (uint32_t i = 0; s->n && !err && i < sp_snapshot_n_segments(s->snapshot); i++) {
    const sp_segment *seg = sp_snapshot_segment(s->snapshot, i);
    if (params->exact || !seg->sealed)
      sp_search_exhaustively(s, seg);
    else
      err = sp_search_pruned(s, seg, params);
    if (!err) err = sp_segment_health(seg); /* damage is no poor answer */
  }
  for (uint32_t i = 0; i < s->n; i++) s->table[s->terms[i]] = 0;
  if (err) return err;
  write_hits(s, hits, n_hits);
  if (stats) *stats = s->stats;
  return SP_OK;
}
