/* server/describe_route.h - the routes that tell what is served, and that all is well. */
#ifndef SP_DESCRIBE_ROUTE_H
#define SP_DESCRIBE_ROUTE_H

#include <stddef.h>

#include "server/reply.h"
#include "server/service.h"

void sp_health_route(const sp_service *s, sp_reply *r);  /* GET /health */
void sp_info_route(const sp_service *s, sp_reply *r);    /* GET /info */
void sp_indexes_route(const sp_service *s, sp_reply *r); /* GET /v1/indexes */

/* GET /v1/indexes/{name}: counts, parameters, and the encoder's contract. */
void sp_index_route(const sp_service *s, size_t index, sp_reply *r);

#endif
