/* index/build_lists.c - term range by term range: gather, prune, write.
 *
 * The forward index is the only copy of the postings: a range of terms small enough for
 * the memory is read out of it by all threads (documents are sorted by term, so a range is
 * a stretch of each), then its lists are written in the order of terms. A list depends on
 * its documents alone, and chunks end by size alone, so the bytes are the same whatever
 * the threads, the memory, and the interruptions. */
#include "index/build_lists.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

/* Lists on their way into chunks. */
typedef struct list_writer {
  sp_list_job *j;
  uint64_t *list_at; /* [n_terms] */
  sp_buf chunk;      /* the payload being filled */
  uint32_t n_in_chunk;
  uint64_t n_postings; /* in it */
} list_writer;

static sp_err flush_chunk(list_writer *w, uint32_t next_term) {
  sp_builder *b = w->j->b;
  if (w->n_in_chunk) {
    void *value;
    sp_err err = sp_build_expect(b, SP_CHUNK_HEADING + w->chunk.n);
    if (!err)
      err = sp_build_reserve(b, SP_DB_LISTS, b->at.n_lists, SP_CHUNK_HEADING + w->chunk.n,
                             &value);
    if (err) return err;
    memcpy((char *)value + SP_CHUNK_HEADING, w->chunk.data, w->chunk.n);
    sp_chunk_seal(value, SP_CHUNK_LISTS, b->at.segment, b->at.n_lists, w->n_in_chunk,
                  w->chunk.n);
    b->at.n_lists++;
    b->at.n_kept_lists += w->n_in_chunk;
    b->at.n_postings += w->n_postings;
  }
  b->at.next_term = next_term;
  sp_buf_clear(&w->chunk);
  w->n_in_chunk = 0;
  w->n_postings = 0;
  return sp_build_step(b, false);
}

/* Prunes the term's postings to the longest list allowed, and writes what is left: also
 * when that is nothing, so that the term keeps its frequency. */
static sp_err append_list(list_writer *w, uint32_t term) {
  sp_list_job *j = w->j;
  sp_postings *p = &j->postings[term];
  if (p->n_all == 0) return SP_OK;
  sp_err err = sp_postings_cut(j, term);
  sp_disk_list h = {.term = term,
                    .n_docs = p->n,
                    .n_all_docs = p->n_all,
                    .max_weight = j->b->half[p->max_weight],
                    .max_discarded = j->b->half[p->max_discarded]};
  static const char zeros[SP_LIST_ALIGNMENT] = {0};
  if (!err) err = sp_buf_append(&w->chunk, zeros, -w->chunk.n & (SP_LIST_ALIGNMENT - 1));
  size_t at = w->chunk.n;
  if (!err) err = sp_list_write(&h, j->docs + p->at, j->weights + p->at, &w->chunk);
  if (err) return err;
  w->list_at[term] = ((uint64_t)j->b->at.n_lists + 1) << 32 | at;
  w->n_in_chunk++;
  w->n_postings += p->n;
  return w->chunk.n < SP_CHUNK_BYTES ? SP_OK : flush_chunk(w, term + 1);
}

/* The range that begins at j->first. */
static sp_err run_range(sp_list_job *j, list_writer *to, sp_progress *progress) {
  sp_err err = sp_postings_gather(j);
  for (uint32_t t = j->first; t < j->end && !err; t++) err = append_list(to, t);
  sp_progress_set(progress, j->end);
  sp_build_give_back();
  return err;
}

/* Ends the range that begins at j->first before it grows too large. */
static uint64_t end_range(sp_list_job *j) {
  uint64_t most = j->b->o.memory_bytes / 8 / 6, n = 0;
  for (j->end = j->first; j->end < j->b->n_terms; j->end++) {
    if (n && n + j->df[j->end] > most) break;
    n += j->df[j->end];
  }
  return n;
}

static sp_err run_ranges(sp_list_job *j, list_writer *to, sp_progress *progress) {
  sp_builder *b = j->b;
  for (j->first = b->at.next_term; j->first < b->n_terms; j->first = j->end) {
    uint64_t n = end_range(j);
    j->docs = malloc((n + 1) * sizeof *j->docs);
    j->weights = malloc((n + 1) * sizeof *j->weights);
    sp_err err = j->docs && j->weights ? run_range(j, to, progress)
                                       : sp_fail(SP_ENOMEM, "%s: out of memory", b->path);
    free(j->docs);
    free(j->weights);
    j->docs = NULL;
    j->weights = NULL;
    if (err) return err;
  }
  return SP_OK;
}

/* Where the lists lie that an earlier run of this build wrote. */
static sp_err recall_lists(list_writer *w) {
  sp_builder *b = w->j->b;
  for (uint32_t i = 0; i < b->at.n_lists; i++) {
    uint8_t buffer[8];
    MDB_val v;
    sp_disk_chunk h;
    sp_err err = sp_store_get(&b->store, b->forward.txn, SP_DB_LISTS,
                              sp_store_key(b->at.segment, i, buffer), &v);
    if (!err)
      err = sp_chunk_open(v.mv_data, v.mv_size, SP_CHUNK_LISTS, b->at.segment, i, b->path,
                          &h);
    if (!err) err = sp_chunk_verify(v.mv_data, b->path);
    if (err) return err;
    const uint8_t *payload = (const uint8_t *)v.mv_data + SP_CHUNK_HEADING;
    for (uint64_t at = 0; at + sizeof(sp_disk_list) <= h.payload_bytes;) {
      const sp_disk_list *l = (const void *)(payload + at);
      if (l->term < b->n_terms) w->list_at[l->term] = ((uint64_t)i + 1) << 32 | at;
      at = sp_round_up(at + l->bytes, SP_LIST_ALIGNMENT);
    }
    sp_build_unmap(v.mv_data, v.mv_size);
  }
  return SP_OK;
}

static sp_err write_directory(list_writer *w) {
  sp_builder *b = w->j->b;
  size_t bytes = 8 * (size_t)b->n_terms;
  void *value;
  sp_err err = sp_build_expect(b, SP_CHUNK_HEADING + bytes);
  if (!err)
    err = sp_build_reserve(b, SP_DB_LISTS, UINT32_MAX, SP_CHUNK_HEADING + bytes, &value);
  if (err) return err;
  memcpy((char *)value + SP_CHUNK_HEADING, w->list_at, bytes);
  sp_chunk_seal(value, SP_CHUNK_DIRECTORY, b->at.segment, UINT32_MAX, b->n_terms, bytes);
  return sp_build_step(b, true);
}

static sp_err job_open(sp_list_job *j) {
  sp_builder *b = j->b;
  j->n_threads = sp_pool_n_threads(b->pool);
  j->postings = malloc((b->n_terms + (size_t)1) * sizeof *j->postings);
  j->piece_end = malloc((4 * (size_t)j->n_threads + 2) * sizeof *j->piece_end);
  sp_err err = SP_OK;
  if (!j->postings || !j->piece_end)
    err = sp_fail(SP_ENOMEM, "%s: out of memory", b->path);
  if (!err) err = sp_build_forward_open(b);
  if (!err) err = sp_postings_count(j);
  if (!err) sp_postings_plan(j);
  return err;
}

static void job_close(sp_list_job *j) {
  sp_builder *b = j->b;
  free(j->postings);
  free(j->piece_end);
  free((void *)j->df);
  free(j->histograms);
  sp_build_forward_close(b);
  if (b->kept.keys) munmap(b->kept.keys, b->kept.bytes);
  b->kept = (sp_kept){0};
}

sp_err sp_build_write_lists(sp_builder *b) {
  sp_list_job j = {.b = b};
  list_writer w = {.j = &j};
  sp_progress p;
  sp_progress_begin(&p, b->o.progress, "terms listed", b->at.next_term, b->n_terms);
  sp_err err = job_open(&j);
  w.list_at = calloc(b->n_terms + (size_t)1, sizeof *w.list_at);
  if (!err && !w.list_at) err = sp_fail(SP_ENOMEM, "%s: out of memory", b->path);
  if (!err) err = recall_lists(&w);
  if (!err) err = run_ranges(&j, &w, &p);
  if (!err) err = flush_chunk(&w, b->n_terms);
  if (!err) err = write_directory(&w);
  if (!err) sp_progress_end(&p);
  free(w.list_at);
  sp_buf_free(&w.chunk);
  job_close(&j);
  return err;
}
