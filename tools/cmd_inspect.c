/* tools/cmd_inspect.c - `spindle inspect`: looks into an index, a document, a query, or the
 * vector of a text. */
#include "tools/cmd.h"
#include "tools/inspect.h"

static const char NAME[] = "inspect";

static const char SUMMARY[] =
    "INDEX alone: what it holds, where its bytes are, its parameters, the encoder's\n"
    "contract, and how long its vectors and lists are. With --doc: a document's\n"
    "stored fields and vector. With --query: what the index has for each term of the\n"
    "query; with --doc too, what each term adds to the document's score, checked\n"
    "against an exact search. In place of an INDEX, --model and a TEXT: the vector of\n"
    "the text, as a document or as a query.\n"
    "\n"
    "Columns of a query: documents that hold the term; postings that static pruning\n"
    "kept; the largest weight, and the largest that pruning discarded. 'listed' says\n"
    "whether a kept posting leads to the document.";

static const char EXAMPLES[] =
    "  spindle inspect wiki.idx --verify\n"
    "  spindle inspect wiki.idx --doc 4711 --top 20\n"
    "  spindle inspect wiki.idx --query \"why is the sky blue\" --doc 4711\n"
    "  spindle inspect --model splade-v3 --query \"why is the sky blue\"\n";

typedef struct request {
  const char *model, *id, *query, *text; /* NULL: not given */
  sp_encoder_options encoder;
} request;

static sp_err run(inspection *s, const request *r) {
  sp_err err;
  if (!s->path) {
    err = sp_encoder_open(r->model, &r->encoder, &s->own_encoder);
    if (err) return err;
    s->encoder = s->own_encoder;
    return inspect_text(s, r->query ? SP_QUERY : SP_DOCUMENT,
                        r->query ? r->query : r->text);
  }
  if (r->query) {
    err = inspection_open_engine(s, r->model, &r->encoder);
    return err ? err : inspect_query(s, r->query, r->id);
  }
  if (r->id) {
    err = inspection_open_document(s, r->model, &r->encoder);
    return err ? err : inspect_document(s, r->id);
  }
  err = inspection_open_index(s);
  return err ? err : inspect_index(s);
}

/* One word: the index, or, where a model alone is asked, a document's text. Returns 0, or
 * 2 after saying what is wrong. */
static int sort_words(inspection *s, request *r, char **words, int n) {
  if (n > 1) return cmd_misuse(NAME, "takes one word, not %d: quote a text", n);
  if (r->model && !r->id && (!r->query || n == 0)) {
    if (!r->query && n == 0) return cmd_misuse(NAME, "wants a text for the model");
    r->text = n ? words[0] : NULL;
  } else {
    if (n == 0) return cmd_misuse(NAME, "wants an index, or --model and a text");
    s->path = words[0];
  }
  if (s->verify && (!s->path || r->id || r->query))
    return cmd_misuse(NAME, "--verify goes with an index alone");
  if (s->top && s->path && !r->id && !r->query)
    return cmd_misuse(NAME, "--top goes with --doc, --query or --model");
  return 0;
}

int cmd_inspect(int argc, char **argv) {
  inspection s = {0};
  request r = {.encoder = sp_encoder_defaults()};
  const cmd_option options[] = {
      {"doc", 'd', CMD_STRING, &r.id, "ID", "look into this document", 0, 0},
      {"query", 'q', CMD_STRING, &r.query, "TEXT", "look into this query", 0, 0},
      {"model", 'm', CMD_STRING, &r.model, "DIR",
       "the encoder, if not where the index remembers it; or one without an index", 0, 0},
      {"top", 0, CMD_U32, &s.top, "N", "show the N strongest terms; 0: all", 0,
       UINT32_MAX},
      {"verify", 0, CMD_FLAG, &s.verify, NULL,
       "read the whole index and compare its checksums", 0, 0},
      {"json", 0, CMD_FLAG, &s.json, NULL, "print one JSON object", 0, 0},
      {"neural-queries", 0, CMD_FLAG, &r.encoder.neural_queries, NULL,
       "send queries through the network even where a table has their weights", 0, 0},
      {"device", 0, CMD_STRING, &r.encoder.device, "D", "model: auto, cpu or cuda", 0, 0},
      {NULL, 0, CMD_FLAG, NULL, NULL, NULL, 0, 0}};
  const cmd_spec spec = {NAME,
                         "INDEX [--doc ID] [--query TEXT] | --model DIR [--query] TEXT",
                         SUMMARY, options, EXAMPLES};
  int n_words, status;
  if (!cmd_parse(&spec, argc, argv, &n_words, &status)) return status;
  status = sort_words(&s, &r, argv + 1, n_words);
  if (status) return status;
  sp_err err = run(&s, &r);
  inspection_close(&s);
  return err ? cmd_fail(NAME) : cmd_finish(NAME);
}
