/* server/routes.h - which path does what: 404, 405, 415 and the rest of the table.
 *
 *   POST /v1/indexes/{name}/search   server/search_route.h
 *   GET  /v1/indexes                 server/describe_route.h, as the rest
 *   GET  /v1/indexes/{name}
 *   GET  /health
 *   GET  /info
 */
#ifndef SP_ROUTES_H
#define SP_ROUTES_H

#include "server/http.h"
#include "server/service.h"

/* The handler that serves `s`, which must outlive the HTTP server. */
sp_http_handler sp_routes(sp_service *s);

#endif
