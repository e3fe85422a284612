/* server/search_request.h - the body of a search: JSON from a stranger, or one sentence.
 *
 *   {"query": "text"} or {"query": {"terms": [3, 9], "weights": [0.5, 1.25]}}
 *   "k"            how many results, 1 .. SP_MAX_K
 *   "exact"        true: score every document
 *   "query_cut"    the query's strongest terms whose lists are read; 0: all
 *   "heap_factor"  a document is skipped when its estimate is below heap_factor times the
 *                  k-th best: larger skips more (Seismic's sense; OpenSearch's is the inverse)
 *   "fields"       stored fields to return; missing: all
 *
 * Members that are not known are refused, and so are settings that would be ignored. */
#ifndef SP_SEARCH_REQUEST_H
#define SP_SEARCH_REQUEST_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"
#include "base/vec.h"
#include "query/search.h"

typedef struct sp_search_request {
  const char *text; /* [text_n] UTF-8, may hold NULs; NULL: ask with `vector` */
  size_t text_n;
  sp_vec vector; /* sound; {0} when a text was given */
  sp_search_params params;
  const json_t *fields; /* array of strings; NULL: all */
  json_t *root;         /* holds what is borrowed above */
} sp_search_request;

/* Parses body[0..n). `defaults` are the settings the request does not name. On SP_OK the
 * caller ends *out with sp_search_request_free(); otherwise *out is {0}.
 * Errors: EFORMAT (not JSON, wrong types, ranges, members), EINVAL, ENOMEM. */
sp_err sp_search_request_parse(const char *body, size_t n,
                               const sp_search_params *defaults, sp_search_request *out);
void sp_search_request_free(sp_search_request *r); /* {0} is fine */

#endif
