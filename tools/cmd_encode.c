/* tools/cmd_encode.c - `spindle encode`: texts become sparse vectors. */
#include <string.h>

#include "tools/cmd.h"
#include "tools/encode_job.h"

static const char NAME[] = "encode";

static const char SUMMARY[] =
    "Reads JSON lines with \"id\" (or \"_id\"), \"text\" and, for documents,\n"
    "\"title\" from FILE or standard input, and writes one sparse vector for each,\n"
    "in order. A document with a title is encoded as title, blank, text. The model\n"
    "is a directory as hubs ship it; 'lexical' stands for BM25 over the given\n"
    "texts.\n"
    "\n"
    "Formats: jsonl ({\"id\", \"terms\", \"weights\"}), compact, seismic, anserini,\n"
    "csr; by the name of -o when none is given. With --resume an output that was\n"
    "cut short (jsonl, compact) is continued behind its last whole vector.";

static const char EXAMPLES[] =
    "  spindle encode --model splade-v3 corpus.jsonl -o corpus.spv\n"
    "  echo '{\"id\": 1, \"text\": \"what is a heron\"}' |\n"
    "    spindle encode --model splade-v3 --query\n";

typedef struct encode {
  const char *model, *kind, *format, *output;
  sp_encoder_options options;
  sp_lexical_options lexical;
  double threshold;
  bool query, resume;
} encode;

static const char *spell(void *context, uint32_t term, size_t *n) {
  return sp_encoder_term(context, term, n);
}

static sp_err run(const encode *c, sp_vector_format format, const char *path) {
  sp_encoder *encoder;
  sp_err err = c->model ? sp_encoder_open(c->model, &c->options, &encoder)
                        : sp_encoder_open_lexical(&c->lexical, &encoder);
  if (err) return err;
  text_lines in;
  err = text_lines_open(path, &in);
  if (err) {
    sp_encoder_free(encoder);
    return err;
  }
  bool learns = sp_encoder_learns(encoder);
  sp_vector_write_options write = {.format = format,
                                   .n_terms = learns ? 0 : sp_encoder_n_terms(encoder),
                                   .spell = spell,
                                   .spell_context = encoder};
  encode_job job = {
      .encoder = encoder, .side = c->query ? SP_QUERY : SP_DOCUMENT, .in = &in};
  vector_output out;
  err = vector_output_open(c->output, write, c->resume, &out, &job.n_skip);
  if (!err) {
    job.out = &out;
    err = encode_job_run(&job);
    err = vector_output_close(&out, err);
  }
  text_lines_close(&in);
  sp_encoder_free(encoder);
  return err;
}

int cmd_encode(int argc, char **argv) {
  encode c = {.output = "-",
              .format = "auto",
              .options = sp_encoder_defaults(),
              .lexical = {.k1 = 0.9, .b = 0.4}};
  sp_encoder_options *o = &c.options;
  const cmd_option options[] = {
      {"model", 'm', CMD_STRING, &c.model, "DIR", "directory of the model", 0, 0},
      {"encoder", 0, CMD_STRING, &c.kind, "lexical", "an encoder without a model", 0, 0},
      {"tokenizer", 0, CMD_STRING, &c.lexical.tokenizer, "FILE",
       "lexical: terms are this tokenizer's ids, not words", 0, 0},
      {"k1", 0, CMD_DOUBLE, &c.lexical.k1, "X", "lexical: BM25's k1 (0.9)", 0, 100},
      {"b", 0, CMD_DOUBLE, &c.lexical.b, "X", "lexical: BM25's b (0.4)", 0, 1},
      {"query", 'q', CMD_FLAG, &c.query, NULL, "the texts are queries", 0, 0},
      {"neural-queries", 0, CMD_FLAG, &o->neural_queries, NULL,
       "send queries through the network even where the model has a table for them", 0,
       0},
      {"idf", 0, CMD_STRING, &o->idf, "FILE",
       "a table of token weights for queries: idf.json, or lines of token and weight", 0,
       0},
      {"format", 'f', CMD_STRING, &c.format, "FORMAT", "format of the output", 0, 0},
      {"output", 'o', CMD_STRING, &c.output, "FILE", "where to write (standard output)",
       0, 0},
      {"resume", 0, CMD_FLAG, &c.resume, NULL, "go on with an output that was cut short",
       0, 0},
      {"device", 0, CMD_STRING, &o->device, "D", "auto, cpu or cuda", 0, 0},
      {"precision", 0, CMD_STRING, &o->precision, "P",
       "auto; f32 or int8 on the CPU; bf16 or f16 on a GPU", 0, 0},
      {"batch-tokens", 0, CMD_U32, &o->batch_tokens, "N",
       "most tokens in one forward pass; 0: chosen", 0, 1 << 24},
      {"threads", 't', CMD_U32, &o->n_threads, "N", "0: one for each processor", 0, 1024},
      {"max-length", 0, CMD_U32, &o->max_length, "N",
       "cut texts to N tokens; 0: the model's own limit", 0, 1 << 24},
      {"top-k", 'k', CMD_U32, &o->top_k, "K",
       "keep the K largest weights; 0: as the model ships", 0, 0},
      {"threshold", 0, CMD_DOUBLE, &c.threshold, "W", "drop weights below W", 0, 1e6},
      {NULL, 0, CMD_FLAG, NULL, NULL, NULL, 0, 0},
  };
  const cmd_spec spec = {NAME, "--model DIR [options] [FILE]", SUMMARY, options,
                         EXAMPLES};
  int n_words, status;
  if (!cmd_parse(&spec, argc, argv, &n_words, &status)) return status;
  if (n_words > 1) return cmd_misuse(NAME, "takes one file, not %d", n_words);
  if (c.kind && strcmp(c.kind, "lexical"))
    return cmd_misuse(NAME, "the only --encoder is lexical, not '%s'", c.kind);
  if (!c.model == !c.kind)
    return cmd_misuse(NAME, "expected --model or --encoder lexical");
  if (c.kind && c.query)
    return cmd_misuse(NAME,
                      "a lexical query needs an index's statistics: 'spindle search'");
  sp_vector_format format;
  if (sp_vector_format_parse(c.format, &format))
    return cmd_misuse(NAME, "%s", sp_err_message());
  o->threshold = (float)c.threshold;
  c.lexical.n_threads = o->n_threads;

  sp_err err = run(&c, format, n_words ? argv[1] : "-");
  return err ? cmd_fail(NAME) : cmd_finish(NAME);
}
