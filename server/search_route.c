/* server/search_route.c - a request becomes a search, its hits become results. */
#include "server/search_route.h"

#include <string.h>
#include <time.h>

#include "base/json.h"
#include "server/search_request.h"

static double now_ms(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec * 1e3 + (double)t.tv_nsec * 1e-6;
}

/* ", \"title\": \"...\"" for each stored field that is wanted. */
static sp_err put_fields(const sp_search_request *request, const sp_buf *stored,
                         sp_buf *out) {
  json_t *fields;
  sp_err err = sp_json_parse(stored->data, stored->n, "stored fields", &fields);
  if (err) return err;
  const char *key;
  json_t *value;
  json_object_foreach(fields, key, value) {
    if (strcmp(key, "id") == 0 || strcmp(key, "score") == 0) continue;
    if (err || !sp_search_request_wants(request, key)) continue;
    char *text =
        json_is_string(value) ? NULL : json_dumps(value, JSON_COMPACT | JSON_ENCODE_ANY);
    err = sp_buf_append_str(out, ", ");
    if (!err) err = sp_json_put_string(out, key, strlen(key));
    if (!err) err = sp_buf_append_str(out, ": ");
    if (!err && json_is_string(value))
      err = sp_json_put_string(out, json_string_value(value), json_string_length(value));
    else if (!err)
      err = text ? sp_buf_append_str(out, text) : sp_fail(SP_ENOMEM, "out of memory");
    free(text);
  }
  json_decref(fields);
  return err;
}

static sp_err put_hit(const sp_snapshot *snapshot, const sp_search_request *request,
                      const sp_hit *hit, sp_buf *scratch, sp_buf *out) {
  size_t n;
  const char *id = sp_snapshot_id(snapshot, hit->doc, &n);
  if (!id) return sp_fail(SP_EIO, "document %u has no id", hit->doc);
  sp_err err = sp_buf_append_str(out, "{\"id\": ");
  if (!err) err = sp_json_put_string(out, id, n);
  if (!err) err = sp_buf_printf(out, ", \"score\": %.9g", (double)hit->score);
  if (!err && (request->all_fields || json_array_size(request->fields) > 0)) {
    sp_buf_clear(scratch);
    err = sp_snapshot_fields(snapshot, hit->doc, scratch);
    if (!err) err = put_fields(request, scratch, out);
  }
  return err ? err : sp_buf_append_char(out, '}');
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
      err = put_hit(sp_engine_snapshot(engine), request, &result->hits[i], scratch, out);
  }
  return err ? err : sp_buf_append_str(out, "]}\n");
}

/* A failure after the search is never the request's fault. */
static void answer(const sp_engine *engine, const sp_search_request *request,
                   sp_session *session, sp_buf *scratch, sp_reply *r) {
  sp_result result;
  double began = now_ms();
  sp_err err = request->text
                   ? sp_session_search_text(session, request->text, request->text_n,
                                            &request->params, &result)
                   : sp_session_search_vector(session, &request->vector, &request->params,
                                              &result);
  if (err) {
    sp_reply_failure(r, err);
    return;
  }
  err = put_result(engine, request, &result, now_ms() - began, scratch, &r->body);
  if (err)
    sp_reply_failure(r, err == SP_ENOMEM ? SP_ENOMEM : SP_EIO);
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
