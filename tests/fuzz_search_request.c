/* tests/fuzz_search_request.c - libFuzzer: any bytes as the body of a search. */
#include <stdlib.h>

#include "server/search_request.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n) {
  const sp_search_params defaults = {.k = 10, .query_cut = 5, .heap_factor = 0.5f};
  sp_search_request r;
  if (sp_search_request_parse((const char *)data, n, &defaults, &r) != SP_OK) return 0;
  /* Whatever was accepted must be fit for a search. */
  uint32_t at;
  if (r.params.k < 1 || r.params.k > SP_MAX_K) abort();
  if (sp_vec_check(r.vector.terms, r.vector.weights, r.vector.n, UINT32_MAX, &at))
    abort();
  if (r.text && r.vector.n) abort();
  sp_search_request_free(&r);
  return 0;
}
