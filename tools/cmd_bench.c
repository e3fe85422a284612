/* tools/cmd_bench.c - `spindle bench DOCUMENTS --queries FILE`: recall against latency. */
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/file.h"
#include "base/json.h"
#include "index/builder.h"
#include "index/vector_io.h"
#include "tools/bench.h"
#include "tools/cmd.h"
#include "tools/plot.h"

enum { MAX_GRID = 64 /* values of one parameter */ };

typedef struct bench_options {
  const char *queries, *index, *json, *svg, *core;
  uint32_t k, n_queries, n_passes;
  cmd_list query_cuts, heap_factors;
  sp_build_options build;
  uint32_t n_threads, n_postings;
  double max_fraction;
  uint64_t memory, seed;
} bench_options;

typedef struct bench {
  bench_options o;
  const char *documents; /* as given: a file of vectors or an index */
  char *built;           /* the index made for this run, to be removed; NULL: none */
  sp_strmap *tokens;     /* of a JSON file with tokens; NULL: terms are numbers */
  sp_index *index;
  sp_snapshot *snapshot;
  bench_queries queries;
  bench_point *points; /* [n_points] */
  bool *best;          /* [n_points] on the front */
  uint32_t n_points;
  uint32_t cuts[MAX_GRID];
  double factors[MAX_GRID];
  uint32_t n_cuts, n_factors;
  double build_s, open_s;
  uint64_t peak_build_bytes; /* resident, of building or opening */
  int core;
} bench;

static double now_s(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static uint64_t peak_bytes(void) {
  struct rusage u;
  getrusage(RUSAGE_SELF, &u);
  return (uint64_t)u.ru_maxrss * 1024;
}

/* --- the index --- */

/* Remembers the names that a JSON file gave its terms, for the queries. */
static sp_err keep_tokens(bench *b, const sp_strmap *vocabulary) {
  if (!vocabulary) return SP_OK;
  sp_err err = sp_strmap_new(&b->tokens);
  for (uint32_t i = 0; !err && i < sp_strmap_count(vocabulary); i++) {
    size_t n;
    uint32_t number;
    const char *token = sp_strmap_key(vocabulary, i, &n);
    err = sp_strmap_add(b->tokens, token, n, &number);
  }
  return err;
}

static sp_err add_documents(bench *b, sp_builder *builder) {
  sp_vector_reader *in = NULL;
  sp_err err = sp_vector_reader_open(b->documents, NULL, &in);
  if (err) return err;
  for (bool more = true; !err && more;) {
    sp_vector_record record;
    err = sp_vector_reader_next(in, &record, &more);
    if (!err && more)
      err = sp_builder_add(builder, record.id, record.id_n, record.vec, NULL, 0);
  }
  if (!err) err = keep_tokens(b, sp_vector_reader_vocabulary(in));
  sp_vector_reader_close(in);
  return err;
}

static sp_err build(bench *b, const char *path) {
  sp_builder *builder;
  double began = now_s();
  sp_err err = sp_builder_open(path, &b->o.build, &builder);
  if (err) return err;
  err = add_documents(b, builder);
  if (err) {
    sp_builder_abort(builder);
    return err;
  }
  err = sp_builder_finish(builder, NULL);
  b->build_s = now_s() - began;
  return err;
}

/* Makes the index beside the temporary files, or where --index says. */
static sp_err build_somewhere(bench *b, const char **path) {
  if (b->o.index) {
    *path = b->o.index;
    return build(b, b->o.index);
  }
  const char *temp = getenv("TMPDIR");
  char name[64];
  snprintf(name, sizeof name, "spindle-bench-%ld", (long)getpid());
  b->built = sp_path_join(temp && *temp ? temp : "/tmp", name);
  if (!b->built) return SP_ENOMEM;
  *path = b->built;
  return build(b, b->built);
}

static sp_err open_index(bench *b) {
  const char *path = b->documents;
  sp_err err = SP_OK;
  if (!sp_path_is_dir(path)) err = build_somewhere(b, &path);
  double began = now_s();
  if (!err) err = sp_index_open(path, &b->index);
  if (!err) err = sp_snapshot_open(b->index, &b->snapshot);
  b->open_s = now_s() - began;
  b->peak_build_bytes = peak_bytes();
  return err;
}

static void remove_built(bench *b) {
  if (!b->built) return;
  const char *names[] = {"data.mdb", "lock.mdb"};
  for (int i = 0; i < 2; i++) {
    char *file = sp_path_join(b->built, names[i]);
    if (file) unlink(file);
    free(file);
  }
  rmdir(b->built);
  free(b->built);
}

/* --- the queries --- */

static uint32_t find_token(void *context, const char *token, size_t n) {
  return sp_strmap_find(context, token, n);
}

static sp_err read_queries(bench *b) {
  sp_vector_read_options options = {.format = SP_VECTORS_AUTO};
  if (b->tokens) {
    options.find = find_token;
    options.find_context = b->tokens;
  } else {
    options.numeric_tokens = true;
  }
  sp_vector_reader *in = NULL;
  sp_err err = sp_vector_reader_open(b->o.queries, &options, &in);
  if (err) return err;
  for (bool more = true; !err && more;) {
    sp_vector_record record;
    err = sp_vector_reader_next(in, &record, &more);
    if (!err && more && record.vec->n) err = bench_add_query(&b->queries, record.vec);
  }
  sp_vector_reader_close(in);
  if (!err && b->queries.n == 0)
    err = sp_fail(SP_EINVAL, "%s: no query has a term that the documents have",
                  b->o.queries);
  bench_sample(&b->queries, b->o.n_queries, b->o.seed);
  return err;
}

/* --- the sweep --- */

static void print_point(const bench *b, const bench_point *p) {
  printf("%9u %11g   %8.4f %9.1f %9.1f %9.1f %9.1f %9.0f %9.2f%% %9.0f\n",
         p->params.query_cut, (double)p->params.heap_factor, p->recall, p->mean_us,
         p->p50_us, p->p99_us, p->cpu_us, p->n_docs_scored,
         100 * p->n_docs_scored / sp_snapshot_info(b->snapshot)->n_docs, p->n_postings);
}

static sp_err sweep(bench *b) {
  char recall[32];
  snprintf(recall, sizeof recall, "recall@%u", b->o.k);
  printf("%9s %11s %10s %9s %9s %9s %9s %9s %10s %9s\n", "query_cut", "heap_factor",
         recall, "mean us", "p50 us", "p99 us", "cpu us", "scored", "of all", "postings");
  b->points = calloc((size_t)b->n_cuts * b->n_factors, sizeof *b->points);
  b->best = calloc((size_t)b->n_cuts * b->n_factors, sizeof *b->best);
  if (!b->points || !b->best) return sp_fail(SP_ENOMEM, "no memory for the results");
  for (uint32_t c = 0; c < b->n_cuts; c++)
    for (uint32_t f = 0; f < b->n_factors; f++) {
      sp_search_params params = {
          .k = b->o.k, .query_cut = b->cuts[c], .heap_factor = (float)b->factors[f]};
      bench_point *p = &b->points[b->n_points];
      sp_err err = bench_measure(&b->queries, b->snapshot, &params, b->o.n_passes, p);
      if (err) return err;
      b->n_points++;
      print_point(b, p);
      fflush(stdout);
    }
  bench_front(b->points, b->n_points, b->best);
  return SP_OK;
}

static void print_best(const bench *b) {
  const double targets[] = {0.90, 0.95, 0.97, 0.98, 0.99, 0.999};
  printf("\nfastest at a recall\n");
  for (size_t t = 0; t < sizeof targets / sizeof *targets; t++) {
    const bench_point *best = NULL;
    for (uint32_t i = 0; i < b->n_points; i++)
      if (b->points[i].recall >= targets[t] &&
          (!best || b->points[i].cpu_us < best->cpu_us))
        best = &b->points[i];
    if (best)
      printf(
          "  >= %.3f  %8.1f us of processor time (wall: mean %.1f, p50 %.1f, p99 %.1f)  "
          "query_cut %u, heap_factor %g\n",
          targets[t], best->cpu_us, best->mean_us, best->p50_us, best->p99_us,
          best->params.query_cut, (double)best->params.heap_factor);
    else
      printf("  >= %.3f  not reached\n", targets[t]);
  }
}

static double bytes_per_entry(const sp_index_info *info) {
  return info->nnz ? (double)info->bytes / (double)info->nnz : 0;
}

static void print_heading(const bench *b) {
  const sp_index_info *info = sp_snapshot_info(b->snapshot);
  uint64_t entries = 0;
  for (uint32_t i = 0; i < b->queries.n; i++) entries += b->queries.vecs[i].n;
  printf("documents        %u, %.1f components each\n", info->n_docs,
         info->n_docs ? (double)info->nnz / info->n_docs : 0.0);
  printf("queries          %u, %.1f components each\n", b->queries.n,
         (double)entries / b->queries.n);
  printf("index            %.1f MB, %.2f bytes a component\n", (double)info->bytes / 1e6,
         bytes_per_entry(info));
  if (b->build_s > 0) printf("built in         %.1f s\n", b->build_s);
  printf("opened in        %.2f ms\n", 1e3 * b->open_s);
  printf("peak memory      %.0f MB resident, %s\n", (double)b->peak_build_bytes / 1e6,
         b->build_s > 0 ? "building" : "opening");
  printf("searching        1 thread on processor %d\n\n", b->core);
}

/* --- what is written --- */

static sp_err put_point(sp_buf *out, const bench_point *p, bool best) {
  return sp_buf_printf(
      out,
      "  {\"query_cut\": %u, \"heap_factor\": %.7g, \"recall\": %.6f, \"mean_us\": %.2f, "
      "\"p50_us\": %.2f, \"p99_us\": %.2f, \"cpu_us\": %.2f, \"docs_scored\": %.1f, "
      "\"postings\": %.1f, \"candidates\": %.1f, \"front\": %s}",
      p->params.query_cut, (double)p->params.heap_factor, p->recall, p->mean_us,
      p->p50_us, p->p99_us, p->cpu_us, p->n_docs_scored, p->n_postings, p->n_candidates,
      best ? "true" : "false");
}

static sp_err put_json(const bench *b, sp_buf *out) {
  const sp_index_info *info = sp_snapshot_info(b->snapshot);
  const sp_build_params *p = &info->params;
  sp_err err = sp_buf_append_str(out, "{\"documents\": ");
  if (!err) err = sp_json_put_string(out, b->documents, strlen(b->documents));
  if (!err) err = sp_buf_append_str(out, ", \"queries\": ");
  if (!err) err = sp_json_put_string(out, b->o.queries, strlen(b->o.queries));
  if (!err)
    err = sp_buf_printf(
        out,
        ", \"n_docs\": %u, \"n_queries\": %u, \"nnz\": %llu, \"bytes\": %llu,\n"
        " \"bytes_per_component\": %.4f, \"k\": %u, \"build_s\": %.3f, \"open_s\": %.6f, "
        "\"peak_bytes\": %llu, \"core\": %d,\n"
        " \"build\": {\"n_postings\": %u, \"max_fraction\": %g},\n \"points\": [\n",
        info->n_docs, b->queries.n, (unsigned long long)info->nnz,
        (unsigned long long)info->bytes, bytes_per_entry(info), b->o.k, b->build_s,
        b->open_s, (unsigned long long)b->peak_build_bytes, b->core, p->n_postings,
        p->max_fraction);
  for (uint32_t i = 0; !err && i < b->n_points; i++) {
    err = put_point(out, &b->points[i], b->best[i]);
    if (!err) err = sp_buf_append_str(out, i + 1 < b->n_points ? ",\n" : "\n");
  }
  if (!err) err = sp_buf_append_str(out, " ]}\n");
  return err;
}

static sp_err write_json(const bench *b) {
  sp_buf text = {0};
  sp_out out;
  sp_err err = put_json(b, &text);
  if (!err) err = sp_out_open(b->o.json, &out);
  if (!err) {
    fwrite(text.data, 1, text.n, out.f); /* commit finds out when that failed */
    err = sp_out_commit(&out);
  }
  sp_buf_free(&text);
  return err;
}

static int by_recall(const void *a, const void *b) {
  double x = ((const plot_point *)a)->x, y = ((const plot_point *)b)->x;
  return (x > y) - (x < y);
}

/* The front: its mean processor times as one line, and the 99th percentiles of the same
 * settings. */
static sp_err write_svg(const bench *b) {
  plot_point *points = malloc(2 * (size_t)b->n_points * sizeof *points);
  if (!points) return sp_fail(SP_ENOMEM, "no memory for the chart");
  plot_point *mean = points, *p99 = points + b->n_points;
  uint32_t n = 0;
  for (uint32_t i = 0; i < b->n_points; i++) {
    if (!b->best[i]) continue;
    mean[n] = (plot_point){b->points[i].recall, b->points[i].cpu_us};
    p99[n++] = (plot_point){b->points[i].recall, b->points[i].p99_us};
  }
  qsort(mean, n, sizeof *mean, by_recall);
  qsort(p99, n, sizeof *p99, by_recall);
  const plot_series series[] = {{"mean, processor time", mean, n},
                                {"99th percentile, wall clock", p99, n}};
  char title[256], x_label[64];
  snprintf(title, sizeof title, "%u documents, %u queries, one thread",
           sp_snapshot_info(b->snapshot)->n_docs, b->queries.n);
  snprintf(x_label, sizeof x_label, "recall@%u against exact search", b->o.k);
  const plot chart = {title, x_label, "latency of a query, microseconds", series, 2};
  sp_err err = plot_write(&chart, b->o.svg);
  free(points);
  return err;
}

/* --- the command --- */

static bool read_grid(const cmd_list *given, double low, double high, double *out,
                      uint32_t *n) {
  if (given->n > MAX_GRID) return false;
  for (int i = 0; i < given->n; i++) {
    char *end;
    out[i] = strtod(given->words[i], &end);
    if (end == given->words[i] || *end || !(out[i] >= low && out[i] <= high))
      return false;
  }
  if (given->n) *n = (uint32_t)given->n;
  return true;
}

/* Fills in the grid; 0, or the exit status. */
static int set_grid(bench *b) {
  const uint32_t cuts[] = {2, 3, 4, 5, 6, 8, 10, 12, 16, 20};
  const double factors[] = {0.7, 0.8, 0.9, 1.0, 1.1, 1.25};
  double numbers[MAX_GRID];
  b->n_cuts = sizeof cuts / sizeof *cuts;
  b->n_factors = sizeof factors / sizeof *factors;
  memcpy(b->cuts, cuts, sizeof cuts);
  memcpy(b->factors, factors, sizeof factors);
  if (!read_grid(&b->o.query_cuts, 0, UINT32_MAX, numbers, &b->n_cuts))
    return cmd_misuse("bench", "--query-cut takes up to %d whole numbers", MAX_GRID);
  for (uint32_t i = 0; b->o.query_cuts.n && i < b->n_cuts; i++)
    b->cuts[i] = (uint32_t)numbers[i];
  if (!read_grid(&b->o.heap_factors, 0, 1e6, b->factors, &b->n_factors))
    return cmd_misuse("bench", "--heap-factor takes up to %d numbers from 0 up",
                      MAX_GRID);
  return 0;
}

static sp_err run(bench *b) {
  sp_err err = open_index(b);
  if (!err) err = read_queries(b);
  FILE *progress = isatty(STDERR_FILENO) ? stderr : NULL;
  if (!err)
    err = bench_ground_truth(&b->queries, b->snapshot, b->o.k, b->o.n_threads, progress);
  if (!err) err = bench_pin(b->o.core ? atoi(b->o.core) : -1, &b->core);
  if (err) return err;
  print_heading(b);
  err = sweep(b);
  if (err) return err;
  print_best(b);
  if (b->o.json) err = write_json(b);
  if (!err && b->o.svg) err = write_svg(b);
  return err;
}

static void close_all(bench *b) {
  sp_snapshot_close(b->snapshot);
  sp_index_close(b->index);
  remove_built(b);
  sp_strmap_free(b->tokens);
  bench_free_queries(&b->queries);
  free(b->points);
  free(b->best);
}

static void set_build_options(bench_options *o) {
  o->build.memory_bytes = o->memory;
  o->build.n_threads = o->n_threads;
  o->build.source = "spindle bench";
  o->build.progress = isatty(STDERR_FILENO) ? stderr : NULL;
  o->build.params =
      (sp_build_params){.n_postings = o->n_postings, .max_fraction = o->max_fraction};
}

int cmd_bench(int argc, char **argv) {
  bench b = {.o = {.k = 10, .n_queries = 1000, .n_passes = 2, .seed = 42}};
  bench_options *o = &b.o;
  o->build = sp_build_options_defaults();
  const sp_build_params *p = &o->build.params;
  o->memory = o->build.memory_bytes;
  o->n_postings = p->n_postings;
  o->max_fraction = p->max_fraction;
  const cmd_option options[] = {
      {"queries", 'q', CMD_STRING, &o->queries, "FILE", "the queries' vectors", 0, 0},
      {"k", 'k', CMD_U32, &o->k, "N", "results a query", 1, SP_MAX_K},
      {"n-queries", 0, CMD_U32, &o->n_queries, "N", "a sample of this many; 0: all", 0,
       0},
      {"passes", 0, CMD_U32, &o->n_passes, "N", "timed passes; the faster one counts", 1,
       100},
      {"query-cut", 0, CMD_LIST, &o->query_cuts, "N...",
       "values to try (how many of the strongest terms make candidates)", 0, 0},
      {"heap-factor", 0, CMD_LIST, &o->heap_factors, "X...",
       "values to try (documents estimated below this share are skipped)", 0, 0},
      {"core", 0, CMD_STRING, &o->core, "N", "processor to search on; else the last", 0,
       0},
      {"json", 0, CMD_STRING, &o->json, "FILE", "write all figures", 0, 0},
      {"svg", 0, CMD_STRING, &o->svg, "FILE", "draw recall against latency", 0, 0},
      {"index", 0, CMD_STRING, &o->index, "DIR", "build there and keep it", 0, 0},
      {"memory", 0, CMD_BYTES, &o->memory, "BYTES", "what building may use", 0, 0},
      {"threads", 0, CMD_U32, &o->n_threads, "N", "for building and the truth; 0: all", 0,
       0},
      {"n-postings", 0, CMD_U32, &o->n_postings, "N", "kept a term on average; 0: chosen",
       0, 0},
      {"max-fraction", 0, CMD_DOUBLE, &o->max_fraction, "X",
       "one list holds at most this times n-postings", 0, 0},
      {"seed", 0, CMD_U64, &o->seed, "N", "of the sample", 0, 0},
      {NULL, 0, CMD_FLAG, NULL, NULL, NULL, 0, 0}};
  const cmd_spec spec = {
      "bench", "DOCUMENTS --queries FILE [OPTION...]",
      "Measures searches for recall against latency. DOCUMENTS is an index, or a file\n"
      "of vectors (any format that 'spindle convert' reads) from which one is built and\n"
      "removed afterwards. The truth is exact search on the same index. Each setting is\n"
      "measured on one thread bound to one processor, after a pass that warms up; keep\n"
      "the machine quiet meanwhile.",
      options,
      "  spindle bench documents.csr --queries queries.csr --svg curve.svg\n"
      "  spindle bench wiki.idx --queries q.jsonl --query-cut 4 8 --heap-factor 0.8 "
      "0.9\n"};
  int n_words, status;
  if (!cmd_parse(&spec, argc, argv, &n_words, &status)) return status;
  if (n_words != 1) return cmd_misuse("bench", "wants one index or file of vectors");
  if (!o->queries) return cmd_misuse("bench", "wants --queries FILE");
  b.documents = argv[1];
  status = set_grid(&b);
  if (status) return status;
  set_build_options(o);
  sp_err err = run(&b);
  close_all(&b);
  return err ? cmd_fail("bench") : cmd_finish("bench");
}
