/* server/search_route.c - a request becomes a search, its hits become results. */
#include "server/search_route.h"

#include <string.h>
#include <time.h>

#include "base/json.h"
#include "server/hit.h"
#include "server/search_request.h"

static double now_ms(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec * 1e3 + (double)t.tv_nsec * 1e-6;
}

static sp_err put_result(const sp_engine *engine, const sp_search_request *request,
                         const sp_result *result, double took_ms, sp_buf *scratch,
                         sp_buf *out) {
  const char *name = sp_engine_name(engine);
  sp_err err = sp_buf_append_str(out, "{\"index\": ");
  if (!err) err = sp_json_put_string(out, name, strlen(name));
  if (!err)
    err = sp_buf_printf(out,
                        ", \"took_ms\": %.3f, \"documents_scored\": %u, \"results\": [",
                        took_ms, result->stats.n_docs_scored);
  for (uint32_t i = 0; i < result->n && !err; i++) {
    if (i) err = sp_buf_append_str(out, ", ");
    if (!err)
      err = sp_put_hit(sp_engine_snapshot(engine), &result->hits[i], request->fields,
                       scratch, out);
  }
  return err ? err : sp_buf_append_str(out, "]}\n");
}

/* The request was found good before: a format that is wrong from here on is the index's, so
 * the server's fault. */
static void fail(sp_reply *r, sp_err err) {
  sp_reply_failure(r, err == SP_EFORMAT ? SP_EIO : err);
}

static void answer(const sp_engine *engine, const sp_search_request *request,
                   sp_session *session, sp_buf *scratch, sp_reply *r) {
  sp_result result;
  double began = now_ms();
  sp_err err = request->text
                   ? sp_session_search_text(session, request->text, request->text_n,
                                            &request->params, &result)
                   : sp_session_search_vector(session, &request->vector, &request->params,
                                              &result);
  if (!err)
    err = put_result(engine, request, &result, now_ms() - began, scratch, &r->body);
  if (err)
    fail(r, err);
  else
    r->status = 200;
}

void sp_search_route(sp_service *s, size_t index, const sp_request *request,
                     sp_reply *r) {
  sp_search_params defaults = sp_search_defaults();
  sp_search_request search;
  sp_err err =
      sp_search_request_parse(request->body, request->body_n, &defaults, &search);
  if (err) {
    sp_reply_failure(r, err);
    return;
  }
  sp_workspace *w = sp_service_take(s);
  answer(sp_service_engine(s, index), &search, w->sessions[index], &w->fields, r);
  sp_service_give(s, w);
  sp_search_request_free(&search);
}
