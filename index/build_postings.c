/* index/build_postings.c - which postings a list keeps (static pruning).
 *
 * The published code walks the strongest dim * n_postings entries of the whole matrix and
 * drops those that find their list full. Here the budget counts terms that occur, weights
 * count as queries are expected to ask for them, and a document's few strongest terms
 * always stay, so that no document becomes unreachable. */
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/half.h"
#include "index/build_lists.h"

/* A weight as queries see it, as an f16 pattern; at least 1 so that it counts. */
static uint16_t key_of(const sp_builder *b, uint32_t term, uint16_t bits) {
  if (!b->query_weight) return bits;
  uint16_t key = sp_f32_to_f16(b->half[bits] * b->query_weight[term]);
  return key ? key : 1;
}

/* Keeps the SP_KEPT_TERMS largest of the keys seen so far, largest first. */
static void push_key(uint16_t keys[SP_KEPT_TERMS], uint16_t key) {
  if (key <= keys[SP_KEPT_TERMS - 1]) return;
  uint32_t i = SP_KEPT_TERMS - 1;
  for (; i > 0 && keys[i - 1] < key; i--) keys[i] = keys[i - 1];
  keys[i] = key;
}

static sp_err count_chunk(void *job, size_t chunk, unsigned worker) {
  sp_list_job *j = job;
  sp_builder *b = j->b;
  uint64_t *histogram = j->histograms + (size_t)worker * SP_N_HALVES;
  uint32_t end = ((uint32_t)chunk + 1) * SP_CHUNK_DOCS;
  for (uint32_t doc = (uint32_t)chunk * SP_CHUNK_DOCS; doc < end && doc < b->live.n;
       doc++) {
    sp_doc d = sp_build_doc(b, doc);
    uint16_t strongest[SP_KEPT_TERMS] = {0};
    for (uint32_t i = 0; i < d.n; i++) {
      uint32_t t = sp_doc_term(&d, b->term_bytes, i);
      uint16_t key = key_of(b, t, d.weights[i]);
      atomic_fetch_add_explicit(&j->df[t], 1, memory_order_relaxed);
      histogram[key]++;
      push_key(strongest, key);
    }
    b->kept.keys[doc] = strongest[SP_KEPT_TERMS - 1];
  }
  sp_build_breathe(b);
  return SP_OK;
}

/* A file without a name beside the index, mapped: its pages can be dropped and come
 * back, so that many documents cost disk, not memory. */
static sp_err make_kept(sp_builder *b) {
  b->kept.bytes = (b->live.n + (uint64_t)1) * sizeof *b->kept.keys;
  char *path = sp_path_join(b->path, "build.kept");
  if (!path) return SP_ENOMEM;
  int fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
  sp_err err = SP_OK;
  if (fd < 0) {
    err = sp_fail_errno(errno, "%s", path);
  } else {
    unlink(path);
    /* Allocated, not just extended: a full disk must fail here and not as a signal. */
    int failed = posix_fallocate(fd, 0, (off_t)b->kept.bytes);
    if (failed) err = sp_fail_errno(failed, "%s", path);
  }
  if (!err) {
    void *map = mmap(NULL, b->kept.bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (map == MAP_FAILED)
      err = sp_fail_errno(errno, "%s: cannot map", path);
    else
      b->kept.keys = map;
  }
  if (fd >= 0) close(fd);
  free(path);
  return err;
}

sp_err sp_postings_count(sp_list_job *j) {
  sp_builder *b = j->b;
  sp_err err = make_kept(b);
  if (err) return err;
  j->df = calloc(b->n_terms + (size_t)1, sizeof *j->df);
  j->histograms = calloc((size_t)j->n_threads * SP_N_HALVES, sizeof *j->histograms);
  if (!j->df || !j->histograms) return sp_fail(SP_ENOMEM, "%s: out of memory", b->path);
  return sp_pool_run(b->pool, b->n_chunks, count_chunk, j);
}

/* What the user left open, by measurement on the lexical BEIR collections, a small SPLADE
 * model and 176,000 learned vectors: two thirds of a term's entries; all of them where
 * they are few, or where weights are counted (BM25), which are nearly alike within a
 * document. Beyond 4,000 lists only cost time. */
static void choose_params(sp_build_params *p, const sp_builder *b, uint64_t n_entries,
                          uint64_t n_terms) {
  enum { FEW = 600, MOST = 4000 };
  if (p->n_postings != 0) return;
  bool counted = b->query_weight && b->hooks.observe;
  double n = n_terms ? ceil(2.0 / 3 * (double)n_entries / (double)n_terms) : 0;
  p->n_postings = counted || n > MOST ? MOST : n < FEW ? FEW : (uint32_t)n;
}

void sp_postings_plan(sp_list_job *j) {
  sp_build_params *p = &j->b->o.params;
  uint64_t n_terms = 0, n_all = 0;
  for (uint32_t t = 0; t < j->b->n_terms; t++) {
    n_terms += j->df[t] > 0;
    n_all += j->df[t];
  }
  choose_params(p, j->b, n_all, n_terms);
  j->threshold = 0;
  double most = p->n_postings * p->max_fraction;
  j->list_max = most < UINT32_MAX ? (uint32_t)most : UINT32_MAX;
  if (j->list_max < SP_SMALL_LIST) j->list_max = SP_SMALL_LIST;
  /* The largest pattern from which on the budget is used up; its ties stay. */
  uint64_t budget = n_terms * p->n_postings, sum = 0;
  for (uint32_t key = SP_N_HALVES; key-- > 0;) {
    for (unsigned w = 0; w < j->n_threads; w++)
      sum += j->histograms[(size_t)w * SP_N_HALVES + key];
    if (sum < budget) continue;
    j->threshold = (uint16_t)key;
    return;
  }
}

/* Is it one of the document's strongest terms, which always stay? */
static bool is_kept(const sp_builder *b, uint32_t doc, uint16_t key) {
  return key >= b->kept.keys[doc];
}

static uint32_t first_at_least(const sp_builder *b, const sp_doc *d, uint32_t term) {
  uint32_t lo = 0, hi = d->n;
  while (lo < hi) {
    uint32_t mid = lo + (hi - lo) / 2;
    if (sp_doc_term(d, b->term_bytes, mid) < term)
      lo = mid + 1;
    else
      hi = mid;
  }
  return lo;
}

/* One piece takes some terms of the range from all documents. */
static sp_err gather_piece(void *job, size_t piece, unsigned worker) {
  (void)worker;
  sp_list_job *j = job;
  const sp_builder *b = j->b;
  uint32_t first = piece ? j->piece_end[piece - 1] : j->first, end = j->piece_end[piece];
  for (uint32_t doc = 0; doc < b->live.n; doc++) {
    if (doc % 256 == 0) sp_build_breathe(b);
    sp_doc d = sp_build_doc(b, doc);
    for (uint32_t i = first_at_least(b, &d, first); i < d.n; i++) {
      uint32_t t = sp_doc_term(&d, b->term_bytes, i);
      if (t >= end) break;
      sp_postings *p = &j->postings[t];
      uint16_t w = d.weights[i], key = j->threshold ? key_of(b, t, w) : 0;
      p->n_all++;
      if (w > p->max_weight) p->max_weight = w;
      if (key < j->threshold && j->df[t] > SP_SMALL_LIST && !is_kept(b, doc, key)) {
        if (w > p->max_discarded) p->max_discarded = w;
        continue;
      }
      j->docs[p->at + p->n] = doc;
      j->weights[p->at + p->n++] = w;
    }
  }
  return SP_OK;
}

sp_err sp_postings_gather(sp_list_job *j) {
  size_t at = 0, mine = 0, each;
  for (uint32_t t = j->first; t < j->end; t++) {
    j->postings[t] = (sp_postings){.at = at};
    at += j->df[t];
  }
  /* A few pieces a thread, of about equal size. */
  each = at / (4 * (size_t)j->n_threads) + 1;
  j->n_pieces = 0;
  for (uint32_t t = j->first; t < j->end; t++) {
    mine += j->df[t];
    if (mine >= each || t + 1 == j->end) {
      j->piece_end[j->n_pieces++] = t + 1;
      mine = 0;
    }
  }
  return sp_pool_run(j->b->pool, j->n_pieces, gather_piece, j);
}

/* The smallest weight of the `most` largest, and how many of that weight are among them.
 */
static sp_err find_cut(const uint16_t *weights, uint32_t n, uint32_t most, uint16_t *cut,
                       uint32_t *n_ties) {
  uint32_t *histogram = calloc(SP_N_HALVES, sizeof *histogram);
  if (!histogram) return sp_fail(SP_ENOMEM, "pruning a list: out of memory");
  for (uint32_t i = 0; i < n; i++) histogram[weights[i]]++;
  uint32_t key = SP_N_HALVES, left = most;
  while (key-- > 0 && histogram[key] < left) left -= histogram[key];
  *cut = (uint16_t)key;
  *n_ties = left;
  free(histogram);
  return SP_OK;
}

sp_err sp_postings_cut(const sp_list_job *j, uint32_t term) {
  sp_postings *p = &j->postings[term];
  if (p->n <= j->list_max) return SP_OK;
  uint32_t *docs = j->docs + p->at, n_ties = 0, n = 0;
  uint16_t *weights = j->weights + p->at, cut = 0;
  sp_err err = find_cut(weights, p->n, j->list_max, &cut, &n_ties);
  if (err) return err;
  for (uint32_t i = 0; i < p->n; i++) {
    uint16_t w = weights[i];
    bool keep = w > cut || (w == cut && n_ties > 0);
    if (w == cut && n_ties > 0) n_ties--;
    if (!keep && !is_kept(j->b, docs[i], key_of(j->b, term, w))) {
      if (w > p->max_discarded) p->max_discarded = w;
      continue;
    }
    docs[n] = docs[i];
    weights[n++] = w;
  }
  p->n = n;
  return SP_OK;
}
