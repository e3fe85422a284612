/* index/build_lists.c - term range by term range: gather, prune, group, write.
 *
 * The forward index is the only copy of the postings: a range of terms small enough for
 * the memory is read out of it (documents are sorted by term, so a range is a stretch of
 * each), then its lists are made by all threads and written in the order of terms. A
 * list depends on the seed and its documents alone, and chunks end by size alone, so the
 * bytes are the same whatever the threads, the memory, and the interruptions. */
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
  uint64_t n_postings, n_blocks; /* in it */
  uint64_t posting_bytes;        /* an estimate for the lists to come */
} list_writer;

enum { POSTING_BYTES = 256 /* the first estimate: rather too large */ };

static sp_err flush_chunk(list_writer *w, uint32_t next_term) {
  sp_builder *b = w->j->b;
  if (w->n_in_chunk) {
    void *value;
    sp_err err = sp_build_reserve(b, SP_DB_LISTS, b->at.n_lists,
                                  SP_CHUNK_HEADING + w->chunk.n, &value);
    if (err) return err;
    memcpy((char *)value + SP_CHUNK_HEADING, w->chunk.data, w->chunk.n);
    sp_chunk_seal(value, SP_CHUNK_LISTS, b->at.segment, b->at.n_lists, w->n_in_chunk,
                  w->chunk.n);
    b->at.n_lists++;
    b->at.n_kept_lists += w->n_in_chunk;
    b->at.n_postings += w->n_postings;
    b->at.n_blocks += w->n_blocks;
  }
  b->at.next_term = next_term;
  sp_buf_clear(&w->chunk);
  w->n_in_chunk = 0;
  w->n_postings = w->n_blocks = 0;
  return sp_build_step(b, false);
}

static sp_err append_list(list_writer *w, uint32_t term, const sp_buf *list) {
  sp_err err = SP_OK;
  if (list->n) {
    const sp_disk_list *h = (const void *)list->data;
    static const char zeros[64] = {0};
    size_t pad = -w->chunk.n & 63;
    err = sp_buf_append(&w->chunk, zeros, pad);
    if (!err) {
      w->list_at[term] = ((uint64_t)w->j->b->at.n_lists + 1) << 32 | w->chunk.n;
      err = sp_buf_append(&w->chunk, list->data, list->n);
    }
    w->n_in_chunk++;
    w->n_postings += h->n_docs;
    w->n_blocks += h->n_blocks;
  }
  if (!err && w->chunk.n >= SP_CHUNK_BYTES) err = flush_chunk(w, term + 1);
  return err;
}

typedef struct sized_term {
  uint32_t term, n;
} sized_term;

/* Some lists of the range, made at once. */
typedef struct list_wave {
  sp_list_job *j;
  sized_term *terms; /* [n] longest first, so that no thread is left with it at the end */
  sp_buf *lists;     /* [first .. end - 1], by term - first */
  uint32_t first, end, n;
} list_wave;

static sp_err make_list(void *job, size_t piece, unsigned worker) {
  list_wave *w = job;
  sp_list_job *j = w->j;
  uint32_t term = w->terms[piece].term;
  sp_postings *p = &j->postings[term];
  sp_err err = sp_postings_cut(j, term);
  if (err) return err;
  sp_grouping g = {.term = term,
                   .n_docs = p->n,
                   .n_all_docs = p->n_all,
                   .max_weight = j->b->half[p->max_weight],
                   .max_discarded = j->b->half[p->max_discarded],
                   .docs = j->docs + p->at};
  err = sp_cluster_group(j->b, &j->clusters[worker], &g);
  if (!err)
    err = sp_summary_write(j->b, &j->clusters[worker], &g, &w->lists[term - w->first]);
  return err;
}

static int longest_first(const void *a, const void *b) {
  const sized_term *x = a, *y = b;
  if (x->n != y->n) return x->n > y->n ? -1 : 1;
  return x->term < y->term ? -1 : x->term > y->term;
}

/* Makes and writes the lists of terms w->first .. w->end - 1; *bytes: what they take. */
static sp_err run_wave(list_wave *w, list_writer *to, uint64_t *bytes) {
  sp_list_job *j = w->j;
  uint32_t n = w->end - w->first;
  w->terms = malloc(n * sizeof *w->terms);
  w->lists = calloc(n, sizeof *w->lists);
  sp_err err = SP_OK;
  if (!w->terms || !w->lists) err = sp_fail(SP_ENOMEM, "%s: out of memory", j->b->path);
  w->n = 0;
  for (uint32_t t = w->first; t < w->end && !err; t++)
    if (j->postings[t].n) w->terms[w->n++] = (sized_term){t, j->postings[t].n};
  if (!err) {
    qsort(w->terms, w->n, sizeof *w->terms, longest_first);
    err = sp_pool_run(j->b->pool, w->n, make_list, w);
  }
  *bytes = 0;
  for (uint32_t i = 0; i < n && w->lists; i++) {
    *bytes += w->lists[i].n;
    if (!err) err = append_list(to, w->first + i, &w->lists[i]);
    sp_buf_free(&w->lists[i]);
  }
  free(w->terms);
  free(w->lists);
  sp_build_give_back();
  return err;
}

/* Postings of w->first .. w->end - 1, ended before they pass `most`: one list at least. */
static uint64_t end_wave(list_wave *w, uint64_t most) {
  const sp_list_job *j = w->j;
  uint64_t n = 0;
  for (w->end = w->first; w->end < j->end; w->end++) {
    uint32_t mine = j->postings[w->end].n;
    if (mine > j->list_max) mine = j->list_max;
    if (n && n + mine > most) break;
    n += mine;
  }
  return n;
}

/* The range that begins at j->first, cut into waves whose lists fit into an eighth of the
 * memory. How many bytes a posting takes, its block's summary included, the waves before
 * tell. */
static sp_err run_range(sp_list_job *j, list_writer *to, sp_progress *progress) {
  sp_err err = sp_postings_gather(j);
  list_wave w = {.j = j, .first = j->first};
  while (!err && w.first < j->end) {
    uint64_t most = j->b->o.memory_bytes / 8 / to->posting_bytes, bytes = 0;
    uint64_t n = end_wave(&w, most);
    err = run_wave(&w, to, &bytes);
    /* Doubtful after a few postings: then it falls slowly. */
    uint64_t each = bytes / (n + 1) + 1, before = to->posting_bytes;
    to->posting_bytes = each > before ? each : before - (before - each) / 4;
    w.first = w.end;
    sp_progress_set(progress, w.end);
  }
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
      at = sp_round_up(at + l->bytes, 64);
    }
    sp_build_unmap(v.mv_data, v.mv_size);
  }
  return SP_OK;
}

static sp_err write_directory(list_writer *w) {
  sp_builder *b = w->j->b;
  size_t bytes = 8 * (size_t)b->n_terms;
  void *value;
  sp_err err =
      sp_build_reserve(b, SP_DB_LISTS, UINT32_MAX, SP_CHUNK_HEADING + bytes, &value);
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
  j->clusters = calloc(j->n_threads, sizeof *j->clusters);
  sp_err err = SP_OK;
  if (!j->postings || !j->piece_end || !j->clusters)
    err = sp_fail(SP_ENOMEM, "%s: out of memory", b->path);
  for (unsigned i = 0; i < j->n_threads && !err; i++)
    err = sp_cluster_init(&j->clusters[i], b->n_terms);
  if (!err) err = sp_build_forward_open(b);
  if (!err) err = sp_postings_count(j);
  if (!err) sp_postings_plan(j);
  return err;
}

static void job_close(sp_list_job *j) {
  sp_builder *b = j->b;
  for (unsigned i = 0; i < j->n_threads && j->clusters; i++)
    sp_cluster_free(&j->clusters[i]);
  free(j->clusters);
  free(j->postings);
  free(j->piece_end);
  free((void *)j->df);
  free(j->histograms);
  sp_build_forward_close(b);
  if (b->top.map) munmap(b->top.map, b->top.bytes);
  b->top = (sp_top){0};
}

sp_err sp_build_write_lists(sp_builder *b) {
  sp_list_job j = {.b = b};
  list_writer w = {.j = &j, .posting_bytes = POSTING_BYTES};
  sp_progress p;
  sp_progress_begin(&p, b->o.progress, "terms grouped", b->at.next_term, b->n_terms);
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
