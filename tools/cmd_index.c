/* tools/cmd_index.c - `spindle index INDEX`: a corpus or a file of vectors becomes an
 * index, or a segment of one. */
#include <inttypes.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

#include "tools/cmd.h"
#include "tools/index_corpus.h"
#include "tools/index_input.h"

static const char NAME[] = "index";

typedef struct index_job {
  const char *path;
  cmd_list corpus;
  const char *vectors;
  sp_corpus_encoder encoder;
  sp_build_options build;
  sp_buf source;
  uint64_t n_repaired;
  sp_build_summary summary;
} index_job;

static double now_s(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static sp_err add_corpus(index_job *j, sp_builder *b, sp_corpus *c, sp_encoder **e) {
  sp_err err = sp_corpus_encoder_attach(b, &j->encoder, j->path, e);
  return err ? err : sp_corpus_add(b, c, *e, j->build.progress);
}

/* Vectors from a file say nothing of the terms they mean: an index with an encoder has
 * its own. */
static sp_err add_vectors(index_job *j, sp_builder *b) {
  const char *contract = sp_builder_start(b)->contract;
  if (contract && strcmp(contract, "{}") != 0)
    return sp_fail(SP_EINVAL,
                   "%s: its documents came through an encoder: add a --corpus, not "
                   "--vectors, whose vocabulary may be another",
                   j->path);
  if (sp_builder_start(b)->complete) return SP_OK;
  return sp_input_vectors(b, j->vectors, j->build.progress);
}

/* Builds from the corpus `c` through *e, or from the file of vectors where c is NULL. */
static sp_err build(index_job *j, sp_corpus *c, sp_encoder **e) {
  sp_builder *b;
  j->build.source = j->source.data;
  sp_err err = sp_builder_open(j->path, &j->build, &b);
  if (err) return err;
  err = c ? add_corpus(j, b, c, e) : add_vectors(j, b);
  if (err) {
    char message[1024];
    snprintf(message, sizeof message, "%s", sp_err_message());
    sp_builder_abort(b);
    return sp_fail(err, "%s", message);
  }
  return sp_builder_finish(b, &j->summary);
}

static sp_err run_vectors(index_job *j) {
  char *const paths[] = {(char *)j->vectors};
  sp_err err = sp_input_identify(paths, 1, &j->source);
  return err ? err : build(j, NULL, NULL);
}

static sp_err run_corpus(index_job *j) {
  sp_corpus *c;
  sp_encoder *e = NULL;
  sp_err err = sp_corpus_open(j->corpus.words, (size_t)j->corpus.n, &c);
  if (err) return err;
  size_t n;
  char *const *files = sp_corpus_files(c, &n);
  err = sp_input_identify(files, n, &j->source);
  if (!err) err = sp_corpus_encoder_open(&j->encoder, &j->source, &e);
  if (!err) err = build(j, c, &e);
  j->n_repaired = sp_corpus_tell(c)->n_repaired;
  sp_encoder_free(e);
  sp_corpus_close(c);
  return err;
}

/* The most memory this process ever held. */
static uint64_t peak_bytes(void) {
  struct rusage u;
  return getrusage(RUSAGE_SELF, &u) ? 0 : (uint64_t)u.ru_maxrss << 10;
}

static void print_json(const index_job *j, double seconds) {
  const sp_build_summary *s = &j->summary;
  printf("{\"documents\": %" PRIu64 ", \"duplicates\": %" PRIu64
         ", \"replaced\": %" PRIu64 ", \"cut\": %" PRIu64 ", \"repaired\": %" PRIu64
         ", \"nnz\": %" PRIu64 ", \"lists\": %" PRIu64 ", \"postings\": %" PRIu64
         ", \"bytes\": %" PRIu64 ", \"seconds\": %.3f, \"peak_bytes\": %" PRIu64 "}\n",
         s->n_docs, s->n_duplicates, s->n_replaced, s->n_cut, j->n_repaired, s->nnz,
         s->n_lists, s->n_postings, s->bytes, seconds, peak_bytes());
}

static void print_text(const index_job *j, double seconds) {
  const sp_build_summary *s = &j->summary;
  printf("%s: %" PRIu64 " documents, %" PRIu64 " lists, %" PRIu64 " postings, %" PRIu64
         " bytes, %.1f s\n",
         j->path, s->n_docs, s->n_lists, s->n_postings, s->bytes, seconds);
  if (s->n_duplicates)
    printf("%" PRIu64 " ids came again: the last document counts\n", s->n_duplicates);
  if (s->n_replaced) printf("%" PRIu64 " older documents replaced\n", s->n_replaced);
  if (s->n_cut) printf("%" PRIu64 " vectors cut to 65,535 entries\n", s->n_cut);
  if (j->n_repaired)
    printf("%" PRIu64 " documents with invalid UTF-8, which was replaced\n",
           j->n_repaired);
}

int cmd_index(int argc, char **argv) {
  index_job j = {
      .build = sp_build_options_defaults(),
      .encoder = {.options = sp_encoder_defaults(), .lexical = {.k1 = 0.9, .b = 0.4}}};
  sp_encoder_options *o = &j.encoder.options;
  const char *kind = NULL;
  sp_build_params *p = &j.build.params;
  bool json = false;
  uint32_t threads = 0;
  const cmd_option options[] = {
      {"corpus", 0, CMD_LIST, &j.corpus, "FILE|DIR...",
       "index documents: corpus.jsonl, MS MARCO's *.tsv, or a BEIR directory", 0, 0},
      {"encoder", 0, CMD_STRING, &kind, "lexical", "BM25, where no --model is given", 0,
       0},
      {"model", 'm', CMD_STRING, &j.encoder.model, "DIR", "encode with this model", 0, 0},
      {"tokenizer", 0, CMD_STRING, &j.encoder.lexical.tokenizer, "FILE",
       "lexical: terms are this tokenizer's ids, not words", 0, 0},
      {"k1", 0, CMD_DOUBLE, &j.encoder.lexical.k1, "X", "lexical: BM25's k1", 0, 100},
      {"b", 0, CMD_DOUBLE, &j.encoder.lexical.b, "X", "lexical: BM25's b", 0, 1},
      {"device", 0, CMD_STRING, &o->device, "D", "model: auto, cpu or cuda", 0, 0},
      {"precision", 0, CMD_STRING, &o->precision, "P",
       "model: auto; f32 or int8 on the CPU; bf16 or f16 on a GPU", 0, 0},
      {"max-length", 0, CMD_U32, &o->max_length, "N",
       "model: cut texts to N tokens; 0: its own limit", 0, 0},
      {"top-k", 0, CMD_U32, &o->top_k, "K",
       "model: keep the K largest weights; 0: as it ships", 0, 0},
      {"idf", 0, CMD_STRING, &o->idf, "FILE",
       "model: answer queries from this table of token weights, without the network", 0,
       0},
      {"vectors", 0, CMD_STRING, &j.vectors, "FILE", "index the vectors of FILE", 0, 0},
      {"append", 0, CMD_FLAG, &j.build.append, NULL, "add to the index", 0, 0},
      {"memory", 0, CMD_BYTES, &j.build.memory_bytes, "BYTES", "what the build may hold",
       0, 0},
      {"max-bytes", 0, CMD_BYTES, &j.build.max_bytes, "BYTES",
       "the index never grows past this", 0, 0},
      {"threads", 0, CMD_U32, &threads, "N", "0: one for each processor", 0, 1024},
      {"n-postings", 0, CMD_U32, &p->n_postings, "N",
       "postings kept a term, on average of terms that occur; 0: chosen", 0, 0},
      {"max-fraction", 0, CMD_DOUBLE, &p->max_fraction, "X",
       "at most n-postings times X in one list", 1e-6, 1e9},
      {"json", 0, CMD_FLAG, &json, NULL, "print the summary as JSON", 0, 0},
      {0}};
  const cmd_spec spec = {
      NAME, "INDEX --corpus FILE|DIR... | --vectors FILE",
      "Builds an index in the new directory INDEX from a corpus, encoded by BM25 or a\n"
      "model, or from vectors made elsewhere (any format of 'spindle convert', with\n"
      "terms as numbers). A build that was killed goes on where it stood when the same\n"
      "command is given again.",
      options,
      "  spindle index indexes/demo --corpus data/demo\n"
      "  spindle index indexes/demo --corpus data/demo --model splade-v3\n"
      "  spindle index indexes/msmarco --vectors msmarco.spv --memory 8G\n"};
  int n_words, status;
  if (!cmd_parse(&spec, argc, argv, &n_words, &status)) return status;
  if (n_words != 1) return cmd_misuse(NAME, "needs one INDEX directory");
  if ((j.corpus.n > 0) == (j.vectors != NULL))
    return cmd_misuse(NAME, "needs --corpus or --vectors, and not both");
  if (kind && (strcmp(kind, "lexical") != 0 || j.encoder.model))
    return cmd_misuse(NAME, "--encoder is lexical, and stands without --model");
  signal(SIGXFSZ, SIG_IGN); /* a limit on file sizes is an error, not an end */
  j.path = argv[1];
  j.build.n_threads = o->n_threads = j.encoder.lexical.n_threads = threads;
  j.build.progress = stderr;
  double began = now_s();
  sp_err err = j.vectors ? run_vectors(&j) : run_corpus(&j);
  sp_buf_free(&j.source);
  if (err) return cmd_fail(NAME);
  if (json)
    print_json(&j, now_s() - began);
  else
    print_text(&j, now_s() - began);
  return cmd_finish(NAME);
}
