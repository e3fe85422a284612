/* query/exact.c - every document of a segment, one after the other. */
#include "query/searcher.h"

void sp_search_exhaustively(sp_searcher *s, const sp_segment *seg) {
  for (uint32_t d = 0; d < seg->n_docs; d++) {
    if (sp_segment_is_deleted(seg, d)) continue;
    float score = sp_searcher_score(s, seg, sp_segment_doc(seg, d));
    s->stats.n_docs_scored++;
    if (score > 0) sp_topk_offer(&s->best, sp_rank_key(score, seg->first_doc + d));
  }
}
