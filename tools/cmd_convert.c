/* tools/cmd_convert.c - `spindle convert IN OUT`: vectors from one file format to another,
 * and what is wrong with them. */
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/json.h"
#include "base/progress.h"
#include "encoder/tokenizer.h"
#include "index/vector_io.h"
#include "tools/cmd.h"

static const char NAME[] = "convert";

typedef struct convert {
  const char *in, *out; /* out NULL: only check */
  sp_vector_read_options read;
  sp_vector_write_options write;
  const char *vocabulary;  /* where to write the tokens; NULL: nowhere */
  sp_tokenizer *tokenizer; /* numbers and spells tokens; NULL: the reader does */
  sp_vector_reader *reader;
  sp_vector_writer *writer;
} convert;

static uint32_t find(void *context, const char *token, size_t n) {
  return sp_tokenizer_find(((convert *)context)->tokenizer, token, n);
}

/* The reader's own numbering grows while it is read, so it is asked late. */
static const char *spell(void *context, uint32_t term, size_t *n) {
  const convert *c = context;
  if (c->tokenizer) return sp_tokenizer_token(c->tokenizer, term, n);
  const sp_strmap *v = sp_vector_reader_vocabulary(c->reader);
  return v && term < sp_strmap_count(v) ? sp_strmap_key(v, term, n) : NULL;
}

static sp_err copy_vectors(convert *c) {
  sp_progress progress;
  sp_progress_begin(&progress, stderr, "vectors", 0,
                    sp_vector_reader_n_vectors(c->reader));
  sp_vector_record rec;
  uint64_t n = 0;
  sp_err err;
  bool more;
  while (!(err = sp_vector_reader_next(c->reader, &rec, &more)) && more) {
    if (c->writer)
      err = sp_vector_writer_put(c->writer, rec.id, rec.id_n, rec.vec, rec.text,
                                 rec.text_n);
    if (err) break;
    sp_progress_set(&progress, ++n);
  }
  sp_progress_end(&progress);
  return err;
}

static sp_err write_vocabulary(convert *c) {
  const sp_strmap *v = sp_vector_reader_vocabulary(c->reader);
  if (!v)
    return sp_fail(SP_EINVAL,
                   "%s: its terms are numbers, there is no vocabulary to write", c->in);
  sp_out out;
  sp_err err = sp_out_open(c->vocabulary, &out);
  if (err) return err;
  for (uint32_t i = 0; i < sp_strmap_count(v) && !err; i++) {
    size_t n;
    const char *token = sp_strmap_key(v, i, &n);
    if (memchr(token, '\n', n))
      err = sp_fail(SP_EINVAL,
                    "%s: term %u holds a line feed, so the tokens cannot be "
                    "written one a line",
                    c->vocabulary, i);
    else if (fwrite(token, 1, n, out.f) != n || putc('\n', out.f) == EOF)
      err = sp_fail(SP_EIO, "%s: cannot write", c->vocabulary);
  }
  if (err) {
    sp_out_abort(&out);
    return err;
  }
  return sp_out_commit(&out);
}

/* The bound of the terms written, where one is known before they are read. */
static uint32_t known_terms(const convert *c) {
  if (c->read.n_terms) return c->read.n_terms;
  uint32_t n = sp_vector_reader_n_terms(c->reader);
  return n || !c->tokenizer ? n : sp_tokenizer_n_ids(c->tokenizer);
}

static sp_err run(convert *c, const char *tokenizer) {
  sp_err err = tokenizer ? sp_tokenizer_open(tokenizer, &c->tokenizer) : SP_OK;
  if (c->tokenizer) {
    c->read.find = find;
    c->read.find_context = c;
  }
  if (!err) err = sp_vector_reader_open(c->in, &c->read, &c->reader);
  if (!err && c->out) {
    c->write.n_terms = known_terms(c);
    c->write.spell = spell;
    c->write.spell_context = c;
    err = sp_vector_writer_open(c->out, &c->write, &c->writer);
  }
  if (!err) err = copy_vectors(c);
  if (!err && c->vocabulary) err = write_vocabulary(c);
  if (err || !c->writer) return err;
  err = sp_vector_writer_finish(c->writer);
  c->writer = NULL;
  return err;
}

/* --- the report --- */

static const char *what_was_done(sp_vector_fault f) {
  if (sp_vector_fault_refused(f)) return "left out";
  switch (f) {
    case SP_VECTOR_UNSORTED:
      return "sorted";
    case SP_VECTOR_DUPLICATE:
      return "summed";
    case SP_VECTOR_EMPTY:
      return "kept";
    default:
      return "entries dropped";
  }
}

static void print_report(const convert *c, FILE *out) {
  const sp_vector_report *r = sp_vector_reader_report(c->reader);
  uint64_t n = r->n_read - r->n_skipped;
  fprintf(out, "%s: %s, %llu vectors", c->in,
          sp_vector_format_name(sp_vector_reader_format(c->reader)),
          (unsigned long long)r->n_read);
  if (r->n_skipped)
    fprintf(out, ", %llu of them left out", (unsigned long long)r->n_skipped);
  fprintf(out, "; %llu entries (%.1f each, most %u); terms below %u\n",
          (unsigned long long)r->n_entries, n ? (double)r->n_entries / (double)n : 0,
          r->max_entries, r->n_terms);
  for (int f = 0; f < SP_VECTOR_N_FAULTS; f++) {
    if (r->faults[f].n == 0) continue;
    fprintf(out, "  %-13s %llu vectors (%s), the first is number %llu, id '%s'\n",
            sp_vector_fault_name(f), (unsigned long long)r->faults[f].n, what_was_done(f),
            (unsigned long long)r->faults[f].record, r->faults[f].id);
  }
}

static sp_err put_count(sp_buf *b, const char *key, uint64_t n) {
  return sp_buf_printf(b, "\"%s\": %llu, ", key, (unsigned long long)n);
}

static sp_err build_json(const convert *c, sp_buf *b) {
  const sp_vector_report *r = sp_vector_reader_report(c->reader);
  sp_err err = sp_buf_printf(b, "{\"format\": \"%s\", ",
                             sp_vector_format_name(sp_vector_reader_format(c->reader)));
  if (!err) err = put_count(b, "n_vectors", r->n_read);
  if (!err) err = put_count(b, "n_left_out", r->n_skipped);
  if (!err) err = put_count(b, "n_entries", r->n_entries);
  if (!err) err = put_count(b, "max_entries", r->max_entries);
  if (!err) err = put_count(b, "n_terms", r->n_terms);
  if (!err) err = sp_buf_append_str(b, "\"faults\": {");
  for (int f = 0; f < SP_VECTOR_N_FAULTS && !err; f++) {
    err = sp_buf_printf(b, "%s\"%s\": {\"n\": %llu", f ? ", " : "",
                        sp_vector_fault_name(f), (unsigned long long)r->faults[f].n);
    if (!err && r->faults[f].n) {
      const char *id = r->faults[f].id;
      err = sp_buf_printf(
          b, ", \"record\": %llu, \"id\": ", (unsigned long long)r->faults[f].record);
      if (!err) err = sp_json_put_string(b, id, strlen(id));
    }
    if (!err) err = sp_buf_append_char(b, '}');
  }
  return err ? err : sp_buf_append_str(b, "}}\n");
}

static sp_err print_json(const convert *c, FILE *out) {
  sp_buf b = {0};
  sp_err err = build_json(c, &b);
  if (!err) fputs(b.data, out);
  sp_buf_free(&b);
  return err;
}

/* --- the command --- */

static const char SUMMARY[] =
    "Reads sparse vectors from IN and writes them to OUT in another format, then\n"
    "tells what it found: how many vectors, entries and terms, and how many are\n"
    "unsorted, duplicate, nan, negative, zero, out of range, of unknown tokens or\n"
    "empty, each with its first example. Unsorted vectors are sorted, weights of a\n"
    "repeated term summed, zeros dropped. NaN, negative weights and terms out of\n"
    "range are refused.\n"
    "\n"
    "Formats: compact (Spindle's own, .spv), jsonl ({\"id\", \"terms\",\n"
    "\"weights\"}), seismic ({\"id\", \"content\", \"vector\"}), anserini ({\"id\",\n"
    "\"contents\", \"vector\"}, weights written as round(100 x weight)), csr\n"
    "(BigANN; keeps no ids).";

static const char EXAMPLES[] =
    "  spindle convert documents.csr documents.spv\n"
    "  spindle convert documents.csr --check\n"
    "  zcat splade.jsonl.gz | spindle convert - splade.spv --scale 0.01 "
    "--tokenizer tokenizer.json\n";

int cmd_convert(int argc, char **argv) {
  const char *from = "auto", *to = "auto", *tokenizer = NULL;
  bool json = false, check = false;
  double scale = 1;
  convert c = {0};
  const cmd_option options[] = {
      {"from", 0, CMD_STRING, &from, "FORMAT", "format of IN", 0, 0},
      {"to", 0, CMD_STRING, &to, "FORMAT", "format of OUT; auto: by its name", 0, 0},
      {"scale", 0, CMD_DOUBLE, &scale, "X",
       "multiply the weights (0.01 undoes Anserini's)", 1e-6, 1e6},
      {"n-terms", 0, CMD_U32, &c.read.n_terms, "N", "refuse terms from N on", 0, 0},
      {"tokenizer", 0, CMD_STRING, &tokenizer, "FILE",
       "tokenizer.json or vocab.txt: tokens of JSON vectors become its ids and back", 0,
       0},
      {"numeric-tokens", 0, CMD_FLAG, &c.read.numeric_tokens, NULL,
       "the keys of JSON vectors are term numbers, not tokens", 0, 0},
      {"vocabulary", 0, CMD_STRING, &c.vocabulary, "FILE",
       "write the tokens of JSON vectors there, in the order of their new numbers", 0, 0},
      {"skip-refused", 0, CMD_FLAG, &c.read.skip_refused, NULL,
       "leave refused vectors out instead of failing", 0, 0},
      {"unfinished", 0, CMD_FLAG, &c.read.accept_prefix, NULL,
       "accept a compact file that a crash has cut short", 0, 0},
      {"check", 0, CMD_FLAG, &check, NULL,
       "write nothing, count all faults; status 1 if a vector would be refused", 0, 0},
      {"json", 0, CMD_FLAG, &json, NULL, "print the report as JSON", 0, 0},
      {0}};
  const cmd_spec spec = {NAME, "IN OUT | IN --check", SUMMARY, options, EXAMPLES};
  int n_words, status;
  if (!cmd_parse(&spec, argc, argv, &n_words, &status)) return status;
  if (n_words != (check ? 1 : 2))
    return cmd_misuse(NAME, check ? "--check takes IN alone" : "expected IN and OUT");
  if (sp_vector_format_parse(from, &c.read.format) ||
      sp_vector_format_parse(to, &c.write.format))
    return cmd_misuse(NAME, "%s", sp_err_message());
  c.in = argv[1];
  c.out = check ? NULL : argv[2];
  c.read.scale = (float)scale;
  c.read.skip_refused = c.read.skip_refused || check;

  sp_err err = run(&c, tokenizer);
  FILE *report = c.out && strcmp(c.out, "-") == 0 ? stderr : stdout;
  if (!err && json) err = print_json(&c, report);
  if (!err && !json) print_report(&c, report);
  bool refused = check && !err && sp_vector_reader_report(c.reader)->n_skipped;
  status = err ? cmd_fail(NAME) : cmd_finish(NAME);
  sp_vector_writer_abort(c.writer);
  sp_vector_reader_close(c.reader);
  sp_tokenizer_free(c.tokenizer);
  return status ? status : refused;
}
