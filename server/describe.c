/* server/describe.c - counts, parameters and contract of an index as a JSON object. */
#include "server/describe.h"

#include <stdio.h>
#include <stdlib.h>

#include "query/search.h"

static json_t *describe_build(const sp_build_params *p) {
  return json_pack("{s:I, s:f}", "n_postings", (json_int_t)p->n_postings, "max_fraction",
                   p->max_fraction);
}

static json_t *describe_search(void) {
  sp_search_params p = sp_search_defaults();
  char digits[32]; /* the float's own: 0.9, not 0.899999976 */
  snprintf(digits, sizeof digits, "%.6g", (double)p.heap_factor);
  return json_pack("{s:I, s:I, s:f}", "k", (json_int_t)p.k, "query_cut",
                   (json_int_t)p.query_cut, "heap_factor", strtod(digits, NULL));
}

json_t *sp_describe_index(const char *name, const sp_index_info *info,
                          const json_t *contract) {
  /* A copy, as the contract may be shared by threads. */
  json_t *encoder = contract ? json_deep_copy(contract) : json_null();
  return json_pack(
      "{s:s, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:o, s:o, s:o}", "name", name,
      "documents", (json_int_t)info->n_docs, "deleted", (json_int_t)info->n_deleted,
      "segments", (json_int_t)info->n_segments, "terms", (json_int_t)info->n_terms, "nnz",
      (json_int_t)info->nnz, "bytes", (json_int_t)info->bytes, "format_version",
      (json_int_t)info->format_version, "build", describe_build(&info->params),
      "search_defaults", describe_search(), "encoder", encoder);
}
