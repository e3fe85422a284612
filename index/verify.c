/* index/verify.c - every byte of a snapshot against its checksum. */
#include <string.h>

#include "index/view.h"

typedef struct expected {
  sp_chunk_kind kind;
  uint32_t segment, number, count; /* count 0: not known */
} expected;

/* A chunk's heading against its key, its payload against its checksum. */
static sp_err verify_chunk(const sp_snapshot *s, expected e, const uint8_t *payload,
                           uint64_t bytes) {
  const char *where = s->index->store.path;
  const uint8_t *value = payload - SP_CHUNK_HEADING;
  sp_disk_chunk h;
  sp_err err = sp_chunk_open(value, bytes + SP_CHUNK_HEADING, e.kind, e.segment, e.number,
                             where, &h);
  if (!err) err = sp_chunk_verify(value, where);
  if (!err && e.count && h.count != e.count)
    err = sp_fail(SP_EFORMAT, "%s: %s chunk %u of segment %u holds %u, not %u", where,
                  sp_chunk_kind_name(e.kind), e.number, e.segment, h.count, e.count);
  return err;
}

static sp_err verify_pieces(const sp_snapshot *s, sp_chunk_kind kind, uint32_t segment,
                            const sp_piece_views *p) {
  sp_err err = SP_OK;
  for (uint32_t i = 0; i < p->n && !err; i++) {
    const sp_piece_view *at = &p->at[i];
    err = verify_chunk(s, (expected){kind, segment, at->first, at->count}, at->payload,
                       at->bytes);
  }
  return err;
}

static sp_err verify_chunks(const sp_snapshot *s, const sp_segment_view *v) {
  uint32_t id = v->disk.id, n_docs = v->disk.n_docs;
  sp_err err = SP_OK;
  for (uint32_t i = 0; i < v->disk.n_forward && !err; i++) {
    uint32_t left = n_docs - i * SP_CHUNK_DOCS;
    expected e = {SP_CHUNK_FORWARD, id, i, left < SP_CHUNK_DOCS ? left : SP_CHUNK_DOCS};
    err = verify_chunk(s, e, v->forward[i], v->forward_bytes[i]);
  }
  for (uint32_t i = 0; i < v->disk.n_lists && !err; i++)
    err = verify_chunk(s, (expected){SP_CHUNK_LISTS, id, i, 0}, v->pub.list_chunks[i],
                       v->list_bytes[i]);
  if (!err && v->pub.list_at)
    err = verify_chunk(s, (expected){SP_CHUNK_DIRECTORY, id, UINT32_MAX, v->disk.n_terms},
                       (const uint8_t *)v->pub.list_at, 8 * (uint64_t)v->disk.n_terms);
  if (!err) err = verify_pieces(s, SP_CHUNK_NAMES, id, &v->names);
  if (!err) err = verify_pieces(s, SP_CHUNK_DOCUMENTS, id, &v->documents);
  if (!err) err = verify_pieces(s, SP_CHUNK_IDS, id, &v->ids);
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
  sp_err err = verify_chunks(s, v);
  for (uint32_t i = 0; i < g->n_docs && !err; i++)
    if (!vector_is_sound(g, i))
      err = sp_fail(SP_EFORMAT, "%s: the vector of document number %u is damaged",
                    s->index->store.path, g->first_doc + i);
  sp_list l;
  for (uint32_t t = 0; t < g->n_terms && !err; t++)
    if (!sp_segment_list(g, t, &l)) err = sp_segment_health(g);
  return err ? err : sp_segment_health(g);
}

sp_err sp_snapshot_verify(const sp_snapshot *s) {
  sp_err err = SP_OK;
  for (uint32_t i = 0; i < s->info.n_segments && !err; i++)
    err = verify_segment(s, &s->segments[i]);
  return err;
}
