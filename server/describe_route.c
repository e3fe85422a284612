/* server/describe_route.c - indexes and the service described in JSON. */
#include "server/describe_route.h"

#include <jansson.h>
#include <stdlib.h>

#include "server/describe.h"

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

static json_t *describe(const sp_service *s, size_t i) {
  const sp_engine *e = sp_service_engine(s, i);
  return sp_describe_index(sp_engine_name(e), sp_engine_info(e),
                           sp_service_contract(s, i));
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
    json_array_append_new(all, describe(s, i));
  reply_with(r, json_pack("{s:o}", "indexes", all));
}

void sp_index_route(const sp_service *s, size_t index, sp_reply *r) {
  reply_with(r, describe(s, index));
}
