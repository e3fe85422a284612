/* server/search_route.h - POST /v1/indexes/{name}/search. */
#ifndef SP_SEARCH_ROUTE_H
#define SP_SEARCH_ROUTE_H

#include <stddef.h>

#include "server/http.h"
#include "server/reply.h"
#include "server/service.h"

/* Answers with
 *   {"index": .., "took_ms": .., "documents_scored": .., "results":
 *    [{"id": .., "score": .., FIELD: .., ...}, ...]}
 * best first; server/hit.h tells what is in each. */
void sp_search_route(sp_service *s, size_t index, const sp_request *request, sp_reply *r);

#endif
