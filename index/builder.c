/* index/builder.c - a build from its first document to its commit, and its ways out. */
#include "index/builder.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/half.h"
#include "index/build.h"

enum {
  CHECKPOINT_S = 5,
  CHECKPOINT_BYTES = 64 << 20,
  MAX_ENTRIES = 65535 /* of one vector */
};
static const uint64_t MEMORY_MIN = (uint64_t)64 << 20;

sp_build_params sp_build_defaults(void) {
  return (sp_build_params){.max_fraction = 6};
}

sp_build_options sp_build_options_defaults(void) {
  return (sp_build_options){.params = sp_build_defaults(),
                            .memory_bytes = (uint64_t)1 << 30,
                            .max_bytes = (uint64_t)1 << 44,
                            .source = ""};
}

static double now_s(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static sp_err check_options(const sp_build_options *o) {
  const sp_build_params *p = &o->params;
  if (o->memory_bytes < MEMORY_MIN)
    return sp_fail(SP_EINVAL, "a build needs at least 64 MiB of memory");
  if (!(p->max_fraction > 0))
    return sp_fail(SP_EINVAL, "max_fraction is %g, not above 0", p->max_fraction);
  return SP_OK;
}

/* Takes the directory for this builder alone, making it when it is a new index. */
static sp_err lock_directory(sp_builder *b) {
  b->made_directory = !b->o.append && mkdir(b->path, 0777) == 0;
  if (!b->o.append && !b->made_directory && errno != EEXIST)
    return sp_fail_errno(errno, "%s: cannot make the directory", b->path);
  b->dir_fd = open(b->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (b->dir_fd < 0) return sp_fail_errno(errno, "%s", b->path);
  if (flock(b->dir_fd, LOCK_EX | LOCK_NB) == 0) return SP_OK;
  if (errno == EWOULDBLOCK)
    return sp_fail(SP_EBUSY, "%s: another process is building it", b->path);
  return sp_fail_errno(errno, "%s: cannot lock", b->path);
}

/* Is an index there, and what does appending to it need to know? */
static sp_err look_at_index(sp_builder *b) {
  sp_index *ix;
  sp_snapshot *s = NULL;
  sp_err err = sp_index_open(b->path, &ix);
  if (!err) err = sp_snapshot_open(ix, &s);
  b->is_new = err != SP_OK;
  if (!err) err = sp_build_read_committed(b, s);
  if (!err && s) {
    const sp_index_info *info = sp_snapshot_info(s);
    err = sp_buf_append_str(&b->base_contract, info->contract);
    if (!err && info->encoder_state_n)
      err = sp_buf_append(&b->base_encoder, info->encoder_state, info->encoder_state_n);
  } else if (err == SP_ENOTFOUND || err == SP_EBUSY) {
    err = SP_OK; /* nothing there, or a build that was cut off */
  }
  sp_snapshot_close(s);
  sp_index_close(ix);
  return err;
}

/* Takes up the checkpoint of the same build, or forgets that of another. */
static sp_err take_up(sp_builder *b) {
  sp_err err = sp_spool_read_state(b->path, &b->state);
  if (err == SP_EIO || err == SP_ENOMEM) return err;
  bool same = !err && b->state.source.n == strlen(b->source) &&
              memcmp(b->state.source.data, b->source, b->state.source.n) == 0;
  if (!same) {
    sp_spool_state_free(&b->state);
    sp_spool_remove(b->path);
    err = sp_buf_append_str(&b->state.source, b->source);
    if (err) return err;
  }
  b->start = (sp_build_start){.n_docs = b->state.n_docs,
                              .complete = b->state.complete,
                              .position = b->state.position.data,
                              .position_n = b->state.position.n,
                              .encoder_state = b->state.encoder.data,
                              .encoder_state_n = b->state.encoder.n};
  if (!same) {
    b->start.encoder_state = b->base_encoder.data;
    b->start.encoder_state_n = b->base_encoder.n;
  }
  if (!b->is_new) b->start.contract = b->base_contract.data;
  /* Killed between its commit and its last breath: nothing is left to do. */
  b->is_committed = b->state.complete && b->committed.source != 0 &&
                    b->committed.source == sp_build_source_hash(b);
  return SP_OK;
}

static void release(sp_builder *b) {
  if (b->batch.txn) mdb_txn_abort(b->batch.txn);
  sp_build_forward_close(b);
  sp_store_close(&b->store);
  sp_pool_free(b->pool);
  sp_spool_close(&b->spool);
  sp_spool_state_free(&b->state);
  sp_buf_free(&b->base_contract);
  sp_buf_free(&b->base_encoder);
  free(b->live.bits);
  free(b->live.before);
  free(b->query_weight);
  free(b->half);
  free(b->source);
  free(b->path);
  if (b->statm_fd >= 0) close(b->statm_fd);
  if (b->dir_fd >= 0) close(b->dir_fd); /* and gives the lock back */
  free(b);
}

sp_err sp_builder_open(const char *path, const sp_build_options *options,
                       sp_builder **out) {
  *out = NULL;
  sp_err err = check_options(options);
  if (err) return err;
  sp_builder *b = calloc(1, sizeof *b);
  if (!b) return sp_fail(SP_ENOMEM, "%s: out of memory", path);
  b->dir_fd = b->statm_fd = -1;
  b->o = *options;
  b->asked = options->params;
  b->path = strdup(path);
  b->source = strdup(options->source);
  err = b->path && b->source ? lock_directory(b) : sp_fail(SP_ENOMEM, "out of memory");
  if (!err) err = look_at_index(b);
  if (!err) err = take_up(b);
  if (!err && !b->is_new && !options->append && !b->is_committed)
    err = sp_fail(SP_EINVAL, "%s: an index is there already: append to it or remove it",
                  path);
  if (!err && b->is_new && options->append)
    err = sp_fail(SP_ENOTFOUND, "%s: no index here to append to", path);
  if (!err) err = sp_spool_open(path, b->state.n_docs, b->state.bytes, &b->spool);
  /* Even an empty checkpoint tells readers that a build goes on. */
  if (!err && b->state.n_docs == 0) err = sp_spool_write_state(path, &b->state);
  b->checkpointed_s = now_s();
  b->checkpointed_bytes = b->spool.bytes;
  if (err) {
    if (b->made_directory) {
      sp_spool_remove(path);
      rmdir(path);
    }
    release(b);
    return err;
  }
  *out = b;
  return SP_OK;
}

const sp_build_start *sp_builder_start(const sp_builder *b) {
  return &b->start;
}

void sp_builder_attach(sp_builder *b, const sp_build_hooks *hooks) {
  b->hooks = *hooks;
}

static sp_err check_id(const char *id, size_t n) {
  if (n == 0 || n > SP_ID_MAX)
    return sp_fail(SP_EINVAL, "an id of %zu bytes: 1 to %d are allowed", n, SP_ID_MAX);
  if (memchr(id, 0, n)) return sp_fail(SP_EINVAL, "an id with a NUL in it");
  return SP_OK;
}

/* Longer vectors than the format holds are cut to their strongest entries. */
static sp_err add_cut(sp_builder *b, const char *id, size_t n_id, const sp_vec *v,
                      const char *fields, size_t n_fields) {
  sp_vec cut = {0};
  sp_err err = sp_vec_copy(v, &cut);
  if (!err) err = sp_vec_keep_top(&cut, MAX_ENTRIES);
  if (!err) err = sp_spool_add(&b->spool, id, n_id, &cut, fields, n_fields);
  sp_vec_free(&cut);
  b->state.n_cut++;
  return err;
}

sp_err sp_builder_add(sp_builder *b, const char *id, size_t n_id, const sp_vec *v,
                      const char *fields, size_t n_fields) {
  sp_err err = check_id(id, n_id);
  if (err) return err;
  uint32_t at;
  sp_vec_fault fault = sp_vec_check(v->terms, v->weights, v->n, b->o.n_terms, &at);
  if (fault)
    return sp_fail(SP_EINVAL, "document '%.*s': entry %u of its vector: %s", (int)n_id,
                   id, at, sp_vec_fault_name(fault));
  if (v->n && v->terms[v->n - 1] == UINT32_MAX)
    return sp_fail(SP_EINVAL, "document '%.*s': a term of 2^32 - 1", (int)n_id, id);
  if (b->spool.n_docs >= UINT32_MAX - 1)
    return sp_fail(SP_EINVAL, "%s: an index holds at most 4,294,967,294 documents",
                   b->path);
  if (n_fields > SP_FIELDS_MAX)
    return sp_fail(SP_EINVAL, "document '%.*s': its fields have over %d bytes", (int)n_id,
                   id, SP_FIELDS_MAX);
  if (v->n && v->terms[v->n - 1] >= b->state.n_terms)
    b->state.n_terms = (uint64_t)v->terms[v->n - 1] + 1;
  if (v->n > MAX_ENTRIES) return add_cut(b, id, n_id, v, fields, n_fields);
  return sp_spool_add(&b->spool, id, n_id, v, fields, n_fields);
}

static sp_err write_checkpoint(sp_builder *b, const void *position, size_t n) {
  sp_err err = sp_spool_flush(&b->spool);
  if (err) return err;
  b->state.n_docs = b->spool.n_docs;
  b->state.bytes = b->spool.bytes;
  sp_buf_clear(&b->state.position);
  if (n) err = sp_buf_append(&b->state.position, position, n);
  if (!err && b->hooks.save) {
    sp_buf_clear(&b->state.encoder);
    err = b->hooks.save(b->hooks.arg, &b->state.encoder);
  }
  return err ? err : sp_spool_write_state(b->path, &b->state);
}

sp_err sp_builder_checkpoint(sp_builder *b, const void *position, size_t n) {
  double now = now_s();
  if (now - b->checkpointed_s < CHECKPOINT_S &&
      b->spool.bytes - b->checkpointed_bytes < CHECKPOINT_BYTES)
    return SP_OK;
  sp_err err = write_checkpoint(b, position, n);
  b->checkpointed_s = now_s();
  b->checkpointed_bytes = b->spool.bytes;
  return err;
}

/* Counts every document that stays, and asks what depends on that. */
static sp_err learn(sp_builder *b) {
  sp_vec v = {0};
  sp_err err = SP_OK;
  for (uint64_t i = 0; i < b->spool.n_docs && b->hooks.observe && !err; i++) {
    if (!sp_build_is_live(b, i)) continue;
    const sp_spool_doc *d = &b->spool.docs[i];
    sp_spool_view doc = sp_spool_read(&b->spool, i);
    /* Borrowed from the map: whoever observes only looks. */
    v = (sp_vec){(uint32_t *)doc.terms, (float *)doc.weights, d->n_entries, d->n_entries};
    err = sp_spool_check(&b->spool, i, (uint32_t)b->state.n_terms);
    if (!err) err = b->hooks.observe(b->hooks.arg, &v);
    if (i % 4096 == 4095) sp_spool_forget(&b->spool, i - 4095, i);
  }
  if (err) return err;
  uint64_t n = b->state.n_terms > b->o.n_terms ? b->state.n_terms : b->o.n_terms;
  uint32_t theirs = b->hooks.n_terms ? b->hooks.n_terms(b->hooks.arg) : 0;
  if (theirs > n) n = theirs;
  b->n_terms = n ? (uint32_t)n : 1;
  b->term_bytes = b->n_terms <= 65536 ? 2 : 4;
  if (!b->hooks.query_weights) return SP_OK;
  b->query_weight = calloc(b->n_terms, sizeof *b->query_weight);
  if (!b->query_weight) return sp_fail(SP_ENOMEM, "%s: out of memory", b->path);
  if (b->hooks.query_weights(b->hooks.arg, b->query_weight, b->n_terms)) {
    float most = 0;
    for (uint32_t t = 0; t < b->n_terms; t++)
      if (b->query_weight[t] > most) most = b->query_weight[t];
    for (uint32_t t = 0; t < b->n_terms && most > 0; t++) b->query_weight[t] /= most;
    if (most > 0) return SP_OK;
  }
  free(b->query_weight);
  b->query_weight = NULL;
  return SP_OK;
}

static sp_err prepare(sp_builder *b) {
  sp_err err = sp_spool_map(&b->spool, b->path);
  if (!err) err = sp_pool_new(b->o.n_threads, &b->pool);
  b->statm_fd = open("/proc/self/statm", O_RDONLY | O_CLOEXEC); /* -1: no such system */
  b->half = calloc(65536, sizeof *b->half);
  if (!err && !b->half) err = sp_fail(SP_ENOMEM, "%s: out of memory", b->path);
  for (uint32_t i = 0; i < 0x7c00 && !err; i++) b->half[i] = sp_f16_to_f32((uint16_t)i);
  if (!err) err = sp_build_find_live(b);
  if (!err) err = learn(b);
  return err;
}

static sp_err build(sp_builder *b) {
  if (b->is_committed) {
    b->at = b->committed;
    b->sum.n_docs = b->at.n_docs;
    return SP_OK;
  }
  if (b->spool.n_docs == 0)
    return sp_fail(SP_EINVAL, "there is no document: an index needs at least one");
  sp_err err = SP_OK;
  if (!b->state.complete) {
    b->state.complete = true;
    err = write_checkpoint(b, NULL, 0);
  }
  if (!err) err = prepare(b);
  if (!err) err = sp_build_open_store(b);
  if (!err) err = sp_build_dictionary(b);
  if (!err) err = sp_build_write_chunks(b);
  if (!err) err = sp_build_write_ids(b);
  if (!err) err = sp_build_write_lists(b);
  if (!err) err = sp_build_commit(b);
  return err;
}

static void remove_file(const char *dir, const char *name) {
  char *path = sp_path_join(dir, name);
  if (path) unlink(path);
  free(path);
}

/* The names of data.mdb and of the directory itself; LMDB sees to what is in the file. */
static sp_err sync_names(const sp_builder *b) {
  sp_err err = sp_dir_sync(b->path);
  char *parent = sp_path_join(b->path, "..");
  if (!err) err = parent ? sp_dir_sync(parent) : SP_ENOMEM;
  free(parent);
  return err;
}

void sp_builder_abort(sp_builder *b) {
  if (!b) return;
  /* Sweeping may fail as the build did (a full disk): then the next build sweeps. */
  if (!b->is_new && b->store.env) sp_build_discard(b);
  if (b->batch.txn) mdb_txn_abort(b->batch.txn);
  b->batch.txn = NULL;
  sp_build_forward_close(b);
  sp_store_close(&b->store);
  if (b->is_new) {
    remove_file(b->path, "data.mdb");
    remove_file(b->path, "lock.mdb");
  }
  sp_spool_remove(b->path);
  if (b->is_new) rmdir(b->path); /* stays when somebody else put something there */
  release(b);
}

sp_err sp_builder_finish(sp_builder *b, sp_build_summary *summary) {
  sp_err err = build(b);
  b->sum.n_cut = b->state.n_cut;
  b->sum.nnz = b->at.nnz;
  b->sum.n_postings = b->at.n_postings;
  b->sum.n_lists = b->at.n_kept_lists;
  if (summary) *summary = b->sum;
  if (err) {
    char message[1024]; /* the reason, not what the way out meets */
    snprintf(message, sizeof message, "%s", sp_err_message());
    sp_builder_abort(b);
    return sp_fail(err, "%s", message);
  }
  sp_store_close(&b->store);
  err = sync_names(b);
  sp_spool_remove(b->path);
  release(b);
  return err;
}
