/* index/verify.c - every byte of a snapshot against its checksum. */
#include <string.h>

#include "index/view.h"

static sp_err verify_payload(const sp_snapshot *s, const uint8_t *payload) {
  return sp_chunk_verify(payload - SP_CHUNK_HEADING, s->index->store.path);
}

static sp_err verify_pieces(const sp_snapshot *s, const sp_piece_views *p) {
  sp_err err = SP_OK;
  for (uint32_t i = 0; i < p->n && !err; i++) err = verify_payload(s, p->at[i].payload);
  return err;
}

/* Vectors are what a search adds up: terms ascend below n_terms, weights are positive. */
static bool vector_is_sound(const sp_segment *g, uint32_t doc) {
  sp_doc d = sp_segment_doc(g, doc);
  uint32_t next = 0;
  for (uint32_t i = 0; i < d.n; i++) {
    uint32_t t = g->term_bytes == 2 ? ((const uint16_t *)d.terms)[i]
                                    : ((const uint32_t *)d.terms)[i];
    if (t < next || t >= g->n_terms || d.weights[i] == 0 || d.weights[i] >= 0x7c00)
      return false;
    next = t + 1;
  }
  return true;
}

static sp_err verify_segment(const sp_snapshot *s, const sp_segment_view *v) {
  const sp_segment *g = &v->pub;
  sp_err err = SP_OK;
  for (uint32_t i = 0; i < v->disk.n_forward && !err; i++)
    err = verify_payload(s, (const uint8_t *)g->chunks[i].start);
  for (uint32_t i = 0; i < v->disk.n_lists && !err; i++)
    err = verify_payload(s, g->list_chunks[i]);
  if (!err && g->list_at) err = verify_payload(s, (const uint8_t *)g->list_at);
  if (!err) err = verify_pieces(s, &v->names);
  if (!err) err = verify_pieces(s, &v->documents);
  if (!err) err = verify_pieces(s, &v->ids);
  for (uint32_t i = 0; i < g->n_docs && !err; i++)
    if (!vector_is_sound(g, i))
      err = sp_fail(SP_EFORMAT, "%s: the vector of document number %u is damaged",
                    s->index->store.path, g->first_doc + i);
  sp_list l;
  for (uint32_t t = 0; t < g->n_terms && !err; t++)
    if (!sp_segment_list(g, t, &l)) err = sp_segment_health(g);
  return err;
}

sp_err sp_snapshot_verify(const sp_snapshot *s) {
  sp_err err = SP_OK;
  for (uint32_t i = 0; i < s->info.n_segments && !err; i++)
    err = verify_segment(s, &s->segments[i]);
  return err;
}
