/* server/routes.c - from a path to the route that answers it. */
#include "server/routes.h"

#include <string.h>
#include <strings.h>

#include "server/describe_route.h"
#include "server/search_route.h"

typedef enum route { NONE, HEALTH, INFO, INDEXES, INDEX, SEARCH } route;

/* Finds the route; *index is the index it names. Replies 404 when there is none. */
static route find_route(const sp_service *s, const char *path, size_t *index,
                        sp_reply *r) {
  static const char prefix[] = "/v1/indexes/";
  *index = 0;
  if (strcmp(path, "/health") == 0) return HEALTH;
  if (strcmp(path, "/info") == 0) return INFO;
  if (strcmp(path, "/v1/indexes") == 0) return INDEXES;
  if (strncmp(path, prefix, sizeof prefix - 1) == 0) {
    const char *name = path + sizeof prefix - 1, *slash = strchr(name, '/');
    size_t n = slash ? (size_t)(slash - name) : strlen(name);
    route found = !slash ? INDEX : strcmp(slash, "/search") == 0 ? SEARCH : NONE;
    *index = sp_service_find(s, name, n);
    if (found != NONE && *index < sp_service_n_indexes(s)) return found;
    if (found != NONE) {
      sp_reply_error(r, 404, "there is no index \"%.*s\"", n < 64 ? (int)n : 64, name);
      return NONE;
    }
  }
  sp_reply_error(r, 404, "there is nothing at %.64s", path);
  return NONE;
}

/* "application/json", with parameters that say nothing but UTF-8. */
static bool is_json(const char *type) {
  static const char json[] = "application/json";
  if (strncasecmp(type, json, sizeof json - 1) != 0) return false;
  const char *rest = type + sizeof json - 1;
  rest += strspn(rest, "; \t");
  return *rest == '\0' || strcasecmp(rest, "charset=utf-8") == 0 ||
         strcasecmp(rest, "charset=\"utf-8\"") == 0;
}

static void check(void *context, const sp_request *request, sp_reply *r) {
  size_t index;
  route found = find_route(context, request->path, &index, r);
  if (found == NONE) return;
  const char *method = found == SEARCH ? "POST" : "GET";
  if (strcmp(request->method, method) != 0) {
    sp_reply_error(r, 405, "%s takes %s, not %.16s", request->path, method,
                   request->method);
    r->allow = found == SEARCH ? "POST" : "GET, HEAD";
  } else if (request->has_arguments) {
    sp_reply_error(r, 400, "%s takes no parameters in the address", request->path);
  } else if (found == SEARCH && request->content_type &&
             !is_json(request->content_type)) {
    sp_reply_error(r, 415, "the Content-Type is %.64s, expected application/json",
                   request->content_type);
  }
}

static void answer(void *context, const sp_request *request, sp_reply *r) {
  sp_service *s = context;
  size_t index;
  switch (find_route(s, request->path, &index, r)) {
    case HEALTH:
      sp_health_route(s, r);
      break;
    case INFO:
      sp_info_route(s, r);
      break;
    case INDEXES:
      sp_indexes_route(s, r);
      break;
    case INDEX:
      sp_index_route(s, index, r);
      break;
    case SEARCH:
      sp_search_route(s, index, request, r);
      break;
    case NONE:
      break;
  }
}

sp_http_handler sp_routes(sp_service *s) {
  return (sp_http_handler){.context = s, .check = check, .answer = answer};
}
