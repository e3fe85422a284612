/* tools/inspect_index.c - what an index holds: counts, parameters, and for each segment how
 * long its vectors and lists are. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "server/describe.h"
#include "tools/inspect.h"

/* --- distributions --- */

typedef struct tally {
  uint32_t *at; /* [n] ascending once all are in */
  size_t n, cap;
  uint64_t sum;
} tally;

static sp_err tally_add(tally *t, uint32_t x) {
  if (t->n == t->cap) {
    size_t cap = t->cap ? 2 * t->cap : 1024;
    uint32_t *more = realloc(t->at, cap * sizeof *more);
    if (!more) return sp_fail(SP_ENOMEM, "no memory to count %zu lengths", cap);
    t->at = more;
    t->cap = cap;
  }
  t->at[t->n++] = x;
  t->sum += x;
  return SP_OK;
}

static int ascending(const void *a, const void *b) {
  uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
  return (x > y) - (x < y);
}

static void tally_sort(tally *t) {
  if (t->n) qsort(t->at, t->n, sizeof *t->at, ascending);
}

static double tally_mean(const tally *t) {
  return t->n ? (double)t->sum / (double)t->n : 0;
}

/* The smallest value that `percent` of all do not exceed; 0 of nothing. */
static uint32_t tally_quantile(const tally *t, size_t percent) {
  if (t->n == 0) return 0;
  size_t rank = (t->n * percent + 99) / 100;
  return t->at[rank ? rank - 1 : 0];
}

/* --- gathering --- */

enum { ENTRIES, POSTINGS, N_TALLIES };

static const struct {
  const char *key, *shown;
} TALLIES[N_TALLIES] = {{"vector_entries", "entries a vector"},
                        {"list_postings", "postings a list"}};

typedef struct segment_report {
  const sp_segment *segment;
  tally tallies[N_TALLIES];
} segment_report;

static sp_err gather(segment_report *r) {
  const sp_segment *g = r->segment;
  sp_err err = SP_OK;
  for (uint32_t d = 0; d < g->n_docs && !err; d++)
    err = tally_add(&r->tallies[ENTRIES], sp_segment_doc(g, d).n);
  for (uint32_t t = 0; t < g->n_terms && !err; t++) {
    sp_list l;
    if (sp_segment_list(g, t, &l)) err = tally_add(&r->tallies[POSTINGS], l.n_docs);
  }
  if (!err) err = sp_segment_health(g);
  for (int i = 0; i < N_TALLIES; i++) tally_sort(&r->tallies[i]);
  return err;
}

/* --- as JSON --- */

static json_t *tally_json(const tally *t) {
  return json_pack(
      "{s:I, s:f, s:I, s:I, s:I, s:I, s:I}", "n", (json_int_t)t->n, "mean", tally_mean(t),
      "least", (json_int_t)tally_quantile(t, 0), "median",
      (json_int_t)tally_quantile(t, 50), "p90", (json_int_t)tally_quantile(t, 90), "p99",
      (json_int_t)tally_quantile(t, 99), "most", (json_int_t)tally_quantile(t, 100));
}

static json_t *segment_json(const segment_report *r) {
  const sp_segment *g = r->segment;
  json_t *o =
      json_pack("{s:I, s:I, s:I, s:I, s:b, s:I, s:I, s:I, s:I, s:I}", "id",
                (json_int_t)g->id, "first_document", (json_int_t)g->first_doc,
                "documents", (json_int_t)(g->n_docs - g->n_deleted), "deleted",
                (json_int_t)g->n_deleted, "sealed", g->sealed, "terms",
                (json_int_t)g->n_terms, "term_bytes", (json_int_t)g->term_bytes, "nnz",
                (json_int_t)g->nnz, "lists", (json_int_t)r->tallies[POSTINGS].n,
                "postings", (json_int_t)r->tallies[POSTINGS].sum);
  for (int i = 0; o && i < N_TALLIES; i++)
    if (json_object_set_new(o, TALLIES[i].key, tally_json(&r->tallies[i]))) {
      json_decref(o);
      o = NULL;
    }
  return o;
}

static json_t *bytes_json(const inspection *s) {
  sp_index_bytes b = sp_snapshot_bytes(s->snapshot);
  return json_pack("{s:I, s:I, s:I, s:I}", "vectors", (json_int_t)b.vectors, "lists",
                   (json_int_t)b.lists, "ids", (json_int_t)b.ids, "documents",
                   (json_int_t)b.documents);
}

static sp_err show_json(inspection *s, const json_t *contract, const segment_report *r) {
  json_t *name = inspect_string(s, s->path, strlen(s->path));
  const sp_index_info *info = sp_snapshot_info(s->snapshot);
  json_t *o = name ? sp_describe_index(json_string_value(name), info, contract) : NULL;
  json_t *segments = json_array();
  bool whole = o && segments;
  for (uint32_t i = 0; i < info->n_segments && whole; i++)
    whole = json_array_append_new(segments, segment_json(&r[i])) == 0;
  if (whole) whole = json_object_set_new(o, "bytes_of", bytes_json(s)) == 0;
  if (whole) whole = json_object_set(o, "per_segment", segments) == 0;
  if (whole && s->verify) whole = json_object_set(o, "verified", json_true()) == 0;
  json_decref(segments);
  json_decref(name);
  if (whole) return inspect_print(o);
  json_decref(o);
  return inspect_print(NULL);
}

/* --- for people --- */

static sp_err print_contract(const json_t *contract) {
  if (!contract) {
    printf("encoder      none: built from vectors\n");
    return SP_OK;
  }
  printf("encoder\n");
  const char *key;
  json_t *value;
  json_object_foreach((json_t *)contract, key, value) {
    char *text =
        json_dumps(value, JSON_COMPACT | JSON_ENCODE_ANY | JSON_REAL_PRECISION(9));
    if (!text) return sp_fail(SP_ENOMEM, "no memory for the contract");
    printf("  %-20s %s\n", key, text);
    free(text);
  }
  return SP_OK;
}

static void print_share(const char *what, uint64_t part, uint64_t all) {
  printf("  %-10s %llu, %.1f %%\n", what, (unsigned long long)part,
         100 * (double)part / (double)all);
}

static void print_bytes(const inspection *s) {
  uint64_t all = sp_snapshot_info(s->snapshot)->bytes;
  sp_index_bytes b = sp_snapshot_bytes(s->snapshot);
  print_share("vectors", b.vectors, all);
  print_share("lists", b.lists, all);
  print_share("ids", b.ids, all);
  print_share("documents", b.documents, all);
  print_share("other", all - b.vectors - b.lists - b.ids - b.documents, all);
}

static sp_err print_index(const inspection *s, const json_t *contract) {
  const sp_index_info *info = sp_snapshot_info(s->snapshot);
  const sp_build_params *p = &info->params;
  uint64_t n_docs = (uint64_t)info->n_docs + info->n_deleted;
  printf("%s\n", s->path);
  printf("documents    %u, %u deleted\n", info->n_docs, info->n_deleted);
  printf("segments     %u\n", info->n_segments);
  printf("terms        %u\n", info->n_terms);
  printf("nnz          %llu, %.1f a document\n", (unsigned long long)info->nnz,
         n_docs ? (double)info->nnz / (double)n_docs : 0);
  printf("bytes        %llu, %.1f a document\n", (unsigned long long)info->bytes,
         n_docs ? (double)info->bytes / (double)n_docs : 0);
  print_bytes(s);
  printf("format       version %u\n", info->format_version);
  printf("build        n_postings %u, max_fraction %g\n", p->n_postings, p->max_fraction);
  sp_err err = print_contract(contract);
  if (!err && s->verify) printf("verified     every checksum holds\n");
  return err;
}

static void print_tally(const char *what, const tally *t) {
  printf("  %-19s %9zu %9.1f %8u %8u %8u %8u %8u\n", what, t->n, tally_mean(t),
         tally_quantile(t, 0), tally_quantile(t, 50), tally_quantile(t, 90),
         tally_quantile(t, 99), tally_quantile(t, 100));
}

static void print_segment(const segment_report *r) {
  const sp_segment *g = r->segment;
  printf(
      "\nsegment %u: %u documents from number %u, %u of them deleted; terms of %u bits\n",
      g->id, g->n_docs, g->first_doc, g->n_deleted, 8u * g->term_bytes);
  if (g->sealed)
    printf("  %llu postings of %llu entries are kept, in %zu lists\n",
           (unsigned long long)r->tallies[POSTINGS].sum, (unsigned long long)g->nnz,
           r->tallies[POSTINGS].n);
  else
    printf("  no lists yet: searched document by document\n");
  printf("  %-19s %9s %9s %8s %8s %8s %8s %8s\n", "", "number", "mean", "least", "median",
         "90 %", "99 %", "most");
  for (int i = 0; i < (g->sealed ? N_TALLIES : 1); i++)
    print_tally(TALLIES[i].shown, &r->tallies[i]);
}

/* The stored contract, NULL for "{}". */
static sp_err read_contract(const inspection *s, json_t **out) {
  const char *text = sp_snapshot_info(s->snapshot)->contract;
  sp_err err = sp_json_parse(text, strlen(text), s->path, out);
  if (err) return err;
  if (json_object_size(*out) > 0) return SP_OK;
  json_decref(*out);
  *out = NULL;
  return SP_OK;
}

static sp_err show(inspection *s, const json_t *contract, const segment_report *r) {
  if (s->json) return show_json(s, contract, r);
  sp_err err = print_index(s, contract);
  for (uint32_t i = 0; i < sp_snapshot_n_segments(s->snapshot) && !err; i++)
    print_segment(&r[i]);
  return err;
}

sp_err inspect_index(inspection *s) {
  uint32_t n = sp_snapshot_n_segments(s->snapshot);
  segment_report *r = calloc((size_t)n + 1, sizeof *r);
  if (!r) return sp_fail(SP_ENOMEM, "no memory for %u segments", n);
  json_t *contract = NULL;
  sp_err err = s->verify ? sp_snapshot_verify(s->snapshot) : SP_OK;
  if (!err) err = read_contract(s, &contract);
  for (uint32_t i = 0; i < n && !err; i++) {
    r[i].segment = sp_snapshot_segment(s->snapshot, i);
    err = gather(&r[i]);
  }
  if (!err) err = show(s, contract, r);
  for (uint32_t i = 0; i < n; i++)
    for (int t = 0; t < N_TALLIES; t++) free(r[i].tallies[t].at);
  free(r);
  json_decref(contract);
  return err;
}
