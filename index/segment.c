/* index/segment.c - a term's list, checked the first time it is touched. */
#include "index/segment.h"

#include "index/view.h"

/* `s` is the first member of the view that the snapshot made. */
static const sp_segment_view *view_of(const sp_segment *s) {
  return (const void *)s;
}

static bool first_touch(const sp_segment_view *v, uint32_t term, uint32_t chunk,
                        uint64_t offset, sp_list *out) {
  const sp_segment *s = &v->pub;
  if (chunk < v->disk.n_lists && offset % SP_LIST_ALIGNMENT == 0 &&
      offset <= v->list_bytes[chunk] &&
      sp_list_read(s->list_chunks[chunk] + offset, v->list_bytes[chunk] - offset, term,
                   s->n_docs, out)) {
    atomic_fetch_or(&v->checked->lists[term / 64], (uint64_t)1 << term % 64);
    return true;
  }
  atomic_store(&v->checked->damaged, term + 1);
  return false;
}

bool sp_segment_list(const sp_segment *s, uint32_t term, sp_list *out) {
  if (!s->sealed || term >= s->n_terms) return false;
  uint64_t place = s->list_at[term];
  if (place == 0) return false;
  const sp_segment_view *v = view_of(s);
  uint32_t chunk = (uint32_t)(place >> 32) - 1;
  uint64_t offset = (uint32_t)place;
  uint64_t known =
      atomic_load_explicit(&v->checked->lists[term / 64], memory_order_relaxed);
  if (!(known >> term % 64 & 1)) return first_touch(v, term, chunk, offset, out);
  sp_list_point(s->list_chunks[chunk] + offset, out);
  return true;
}

static const uint32_t NO_STARTS[SP_CHUNK_DOCS + 1];
static const uint16_t NO_ENTRIES[SP_CHUNK_DOCS];

void sp_segment_touch(const sp_segment *s, uint32_t chunk) {
  const sp_segment_view *v = view_of(s);
  sp_forward_chunk *c = (sp_forward_chunk *)&s->chunks[chunk], found;
  pthread_mutex_lock(v->lock);
  if (!c->n) {
    uint32_t left = s->n_docs - chunk * SP_CHUNK_DOCS;
    if (left > SP_CHUNK_DOCS) left = SP_CHUNK_DOCS;
    if (!sp_forward_read(v->forward[chunk], v->forward_bytes[chunk], left, s->n_terms,
                         s->term_bytes, &found)) {
      found = (sp_forward_chunk){v->forward[chunk], NO_STARTS, NO_ENTRIES};
      atomic_store(&v->checked->damaged_chunk, chunk + 1);
    }
    c->base = found.base;
    c->start = found.start;
    /* Last: who sees it sees the others. */
    __atomic_store_n(&c->n, found.n, __ATOMIC_RELEASE);
  }
  pthread_mutex_unlock(v->lock);
}

sp_err sp_segment_health(const sp_segment *s) {
  const sp_checked *c = view_of(s)->checked;
  uint32_t term = atomic_load_explicit(&c->damaged, memory_order_relaxed);
  uint32_t chunk = atomic_load_explicit(&c->damaged_chunk, memory_order_relaxed);
  if (term)
    return sp_fail(SP_EFORMAT, "%s: segment %u: the list of term %u is damaged",
                   view_of(s)->path, s->id, term - 1);
  if (chunk)
    return sp_fail(SP_EFORMAT, "%s: segment %u: forward chunk %u is damaged",
                   view_of(s)->path, s->id, chunk - 1);
  return SP_OK;
}
