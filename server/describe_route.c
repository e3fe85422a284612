/* server/describe_route.c - indexes and the service described in JSON. */
#include "server/describe_route.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>

/* The reply becomes the object, whose reference is taken; NULL is memory that ran out. */
static void reply_with(sp_reply *r, json_t *object) {
  char *text = object ? json_dumps(object, JSON_REAL_PRECISION(9)) : NULL;
  json_decref(object);
  if (!text || sp_buf_append_str(&r->body, text) || sp_buf_append_char(&r->body, '\n'))
    sp_reply_error(r, 503, "out of memory");
  else
    r->status = 200;
  free(text);
}

static json_t *describe_build(const sp_build_params *p) {
  return json_pack("{s:I, s:f, s:f, s:I, s:f, s:I, s:I}", "n_postings",
                   (json_int_t)p->n_postings, "max_fraction", p->max_fraction,
                   "centroid_fraction", p->centroid_fraction, "min_cluster_size",
                   (json_int_t)p->min_cluster_size, "summary_energy", p->summary_energy,
                   "doc_cut", (json_int_t)p->doc_cut, "seed", (json_int_t)p->seed);
}

static json_t *describe_search(void) {
  sp_search_params p = sp_search_defaults();
  char digits[32]; /* the float's own: 0.9, not 0.899999976 */
  snprintf(digits, sizeof digits, "%.6g", (double)p.heap_factor);
  return json_pack("{s:I, s:I, s:f}", "k", (json_int_t)p.k, "query_cut",
                   (json_int_t)p.query_cut, "heap_factor", strtod(digits, NULL));
}

static json_t *describe_index(const sp_service *s, size_t i) {
  const sp_engine *e = sp_service_engine(s, i);
  const sp_index_info *info = sp_engine_info(e);
  const json_t *contract = sp_service_contract(s, i);
  /* A copy, as the contract is shared by all threads. */
  json_t *encoder = contract ? json_deep_copy(contract) : json_null();
  return json_pack("{s:s, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:o, s:o, s:o}", "name",
                   sp_engine_name(e), "documents", (json_int_t)info->n_docs, "deleted",
                   (json_int_t)info->n_deleted, "segments", (json_int_t)info->n_segments,
                   "terms", (json_int_t)info->n_terms, "nnz", (json_int_t)info->nnz,
                   "bytes", (json_int_t)info->bytes, "format_version",
                   (json_int_t)info->format_version, "build",
                   describe_build(&info->params), "search_defaults", describe_search(),
                   "encoder", encoder);
}

void sp_health_route(const sp_service *s, sp_reply *r) {
  (void)s;
  reply_with(r, json_pack("{s:s}", "status", "ok"));
}

void sp_info_route(const sp_service *s, sp_reply *r) {
  json_t *names = json_array();
  for (size_t i = 0; i < sp_service_n_indexes(s); i++)
    json_array_append_new(names, json_string(sp_engine_name(sp_service_engine(s, i))));
  reply_with(r, json_pack("{s:s, s:s, s:o}", "name", "spindle", "version",
                          sp_service_version(s), "indexes", names));
}

void sp_indexes_route(const sp_service *s, sp_reply *r) {
  json_t *all = json_array();
  for (size_t i = 0; i < sp_service_n_indexes(s); i++)
    json_array_append_new(all, describe_index(s, i));
  reply_with(r, json_pack("{s:o}", "indexes", all));
}

void sp_index_route(const sp_service *s, size_t index, sp_reply *r) {
  reply_with(r, describe_index(s, index));
}
