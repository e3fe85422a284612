/* encoder/model_modules.c - sentence-transformers' layouts: which module lies where.
 *
 *   modules.json        [{"path": "1_SpladePooling", "type": "package.SpladePooling"}, ...]
 *   router_config.json  {"types": {id: type}, "structure": {route: [id, ...]}}; an id is a
 *                       folder ("" the router's own), the routes "query" and "document";
 *                       in older saves the router's config.json
 *
 * Read are Transformer and MLMTransformer, SpladePooling, Router (once called Asym),
 * SparseStaticEmbedding,
 * and for token vectors Dense, MultiVectorMask and Normalize; any other module would
 * change the vectors, so it is refused. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/json.h"
#include "encoder/model_parts.h"

enum { MAX_JSON_BYTES = 4 << 20 };

typedef enum module_kind {
  TRANSFORMER,
  SPLADE_POOLING,
  ROUTER,
  STATIC_EMBEDDING,
  DENSE,
  TOKEN_MASK,
  NORMALIZE,
  UNKNOWN
} module_kind;

/* A type's last word decides: packages were renamed between versions. */
static module_kind kind_of(const char *type) {
  static const char *const NAMES[] = {
      [TRANSFORMER] = "Transformer",
      [SPLADE_POOLING] = "SpladePooling",
      [ROUTER] = "Router",
      [STATIC_EMBEDDING] = "SparseStaticEmbedding",
      [DENSE] = "Dense",
      [TOKEN_MASK] = "MultiVectorMask",
      [NORMALIZE] = "Normalize",
  };
  const char *dot = strrchr(type, '.');
  const char *name = dot ? dot + 1 : type;
  if (!strcmp(name, "MLMTransformer")) return TRANSFORMER;
  if (!strcmp(name, "Asym")) return ROUTER;
  for (module_kind k = 0; k < UNKNOWN; k++)
    if (!strcmp(NAMES[k], name)) return k;
  return UNKNOWN;
}

/* A path of a stranger's file may go down only. */
static bool stays_inside(const char *path) {
  if (*path == '/') return false;
  for (const char *p = path; *p;) {
    size_t n = strcspn(p, "/");
    if (n == 2 && p[0] == '.' && p[1] == '.') return false;
    p += n + (p[n] == '/');
  }
  return true;
}

static void set_string(char **slot, char *value) {
  free(*slot);
  *slot = value;
}

/* A reading in progress. `where` is the file whose words are followed. */
typedef struct reading {
  sp_model *m;
  sp_layout *layout;
  const char *dir;
  const char *where;
  bool query_side; /* inside a router's query route */
} reading;

static sp_err read_pooling(const reading *r, const char *config_path, const json_t *o) {
  const char *strategy = "max", *activation = "relu";
  sp_err err = sp_json_get_string(o, "pooling_strategy", config_path, &strategy);
  if (!err) err = sp_json_get_string(o, "activation_function", config_path, &activation);
  if (err) return err;
  if (strcmp(strategy, "max"))
    return sp_fail(SP_EFORMAT, "%s: the pooling_strategy %.100s is not supported",
                   config_path, strategy);
  if (strcmp(activation, "relu") && strcmp(activation, "log1p_relu"))
    return sp_fail(SP_EFORMAT, "%s: the activation_function %.100s is not supported",
                   config_path, activation);
  uint32_t times = strcmp(activation, "relu") ? 2 : 1;
  if (r->layout->has_pooling && r->m->log1p_times != times)
    return sp_fail(SP_EFORMAT,
                   "%s: the activation_function %.100s is not the other SpladePooling's",
                   config_path, activation);
  r->m->log1p_times = times;
  r->layout->has_pooling = true;
  return SP_OK;
}

static sp_err read_dense(const reading *r, const char *dir, const char *config_path,
                         const json_t *o) {
  const char *activation = "Identity";
  sp_err err = sp_json_get_string(o, "activation_function", config_path, &activation);
  if (err) return err;
  const char *dot = strrchr(activation, '.');
  if (strcmp(dot ? dot + 1 : activation, "Identity"))
    return sp_fail(SP_EFORMAT, "%s: the activation_function %.100s is not supported",
                   config_path, activation);
  if (r->layout->dense_dir)
    return sp_fail(SP_EFORMAT, "%s: a second Dense module is not supported", r->where);
  char *copy = strdup(dir);
  if (!copy) return sp_fail(SP_ENOMEM, "%s: out of memory", dir);
  set_string(&r->layout->dense_dir, copy);
  return SP_OK;
}

static sp_err read_token_mask(const reading *r, const char *config_path,
                              const json_t *o) {
  sp_token_projection *t = &r->m->tokens;
  const json_t *words = json_object_get(o, "skiplist_words");
  const json_t *keep = json_object_get(o, "keep_only_token_ids");
  if (keep && !json_is_null(keep))
    return sp_fail(SP_EFORMAT, "%s: keep_only_token_ids is not supported", config_path);
  const json_t *tasks = json_object_get(o, "skiplist_tasks");
  const json_t *task;
  size_t i;
  json_array_foreach(
      tasks, i, task) if (!json_is_string(task) ||
                          strcmp(json_string_value(task),
                                 "document")) return sp_fail(SP_EFORMAT,
                                                             "%s: skiplist_tasks other "
                                                             "than \"document\" is not "
                                                             "supported",
                                                             config_path);
  size_t n = json_array_size(words);
  if (t->skip_words || n == 0) return SP_OK;
  t->skip_words = calloc(n, sizeof *t->skip_words);
  if (!t->skip_words) return sp_fail(SP_ENOMEM, "%s: out of memory", config_path);
  const json_t *word;
  json_array_foreach(words, i, word) {
    if (!json_is_string(word))
      return sp_fail(SP_EFORMAT, "%s: skiplist_words[%zu] is not a string", config_path,
                     i);
    t->skip_words[i] = strdup(json_string_value(word));
    if (!t->skip_words[i]) return sp_fail(SP_ENOMEM, "%s: out of memory", config_path);
    t->n_skip_words++;
  }
  return SP_OK;
}

static sp_err read_router(const reading *r, const char *dir);

/* The transformer of both sides must be one and the same: there is one network. */
static sp_err read_transformer(const reading *r, const char *dir) {
  char **slot = &r->layout->transformer_dir;
  if (*slot && strcmp(*slot, dir))
    return sp_fail(SP_EFORMAT, "%s: two transformers (%s, %s) are not supported",
                   r->where, *slot, dir);
  if (*slot) return SP_OK;
  *slot = strdup(dir);
  return *slot ? SP_OK : sp_fail(SP_ENOMEM, "%s: out of memory", dir);
}

static sp_err read_static_embedding(const reading *r, const char *dir) {
  if (!r->query_side)
    return sp_fail(SP_EFORMAT,
                   "%s: a SparseStaticEmbedding outside a query route is not "
                   "supported",
                   r->where);
  char *copy = strdup(dir);
  if (!copy) return sp_fail(SP_ENOMEM, "%s: out of memory", dir);
  set_string(&r->layout->query_table_dir, copy);
  return SP_OK;
}

static sp_err read_config(const reading *r, const char *dir, const char *path,
                          module_kind kind) {
  char *config_path = sp_path_join(dir, "config.json");
  if (!config_path) return SP_ENOMEM;
  json_t *o = NULL;
  sp_err err = SP_OK;
  if (!sp_path_exists(config_path))
    err = sp_fail(SP_ENOTFOUND,
                  "%s: it names the folder \"%s\", whose config.json is not "
                  "there",
                  r->where, path);
  if (!err) err = sp_json_load_file(config_path, MAX_JSON_BYTES, &o);
  if (!err && kind == SPLADE_POOLING) err = read_pooling(r, config_path, o);
  if (!err && kind == DENSE) err = read_dense(r, dir, config_path, o);
  if (!err && kind == TOKEN_MASK) err = read_token_mask(r, config_path, o);
  json_decref(o);
  free(config_path);
  return err;
}

/* One module: its folder `path` below `parent` and its type. */
static sp_err read_module(const reading *r, const char *parent, const char *path,
                          const char *type) {
  module_kind kind = kind_of(type);
  if (kind == UNKNOWN)
    return sp_fail(SP_EFORMAT, "%s: the module type %.200s is not supported", r->where,
                   type);
  if (!stays_inside(path))
    return sp_fail(SP_EFORMAT, "%s: the module path %.200s leaves the directory",
                   r->where, path);
  char *dir = *path ? sp_path_join(parent, path) : strdup(parent);
  if (!dir) return sp_fail(SP_ENOMEM, "%s: out of memory", r->where);
  sp_err err = SP_OK;
  switch (kind) {
    case TRANSFORMER:
      err = read_transformer(r, dir);
      break;
    case ROUTER:
      err = read_router(r, dir);
      break;
    case STATIC_EMBEDDING:
      err = read_static_embedding(r, dir);
      break;
    case NORMALIZE:
      r->m->tokens.l2 = true;
      break;
    default:
      err = read_config(r, dir, path, kind);
  }
  free(dir);
  return err;
}

/* Follows structure[route]; *found is whether the route is there. */
static sp_err read_route(const reading *r, const char *dir, const json_t *config,
                         const char *route, bool *found) {
  const json_t *ids = json_object_get(json_object_get(config, "structure"), route);
  const json_t *types = json_object_get(config, "types");
  *found = json_array_size(ids) > 0;
  const json_t *id;
  size_t i;
  json_array_foreach(ids, i, id) {
    const char *name = json_string_value(id);
    const char *type = name ? json_string_value(json_object_get(types, name)) : NULL;
    if (!type)
      return sp_fail(SP_EFORMAT,
                     "%s: the %s route names %.200s, which types does not have", r->where,
                     route, name ? name : "something that is not a string");
    if (kind_of(type) == ROUTER)
      return sp_fail(SP_EFORMAT, "%s: a router inside a router is not supported",
                     r->where);
    sp_err err = read_module(r, dir, name, type);
    if (err) return err;
  }
  return SP_OK;
}

/* The router's wiring: router_config.json, in older saves (Asym) config.json. */
static sp_err load_router(const char *where, const char *dir, char **path,
                          json_t **config) {
  sp_err err = sp_json_load_beside(dir, "router_config.json", false, path, config);
  if (!err && !*path) err = sp_json_load_beside(dir, "config.json", false, path, config);
  if (err) return err;
  if (!json_is_object(json_object_get(*config, "types")) ||
      !json_is_object(json_object_get(*config, "structure")))
    return sp_fail(SP_EFORMAT,
                   "%s: the wiring of its router, types and structure, is neither in "
                   "%s/router_config.json nor in config.json there",
                   where, dir);
  const json_t *mappings =
      json_object_get(json_object_get(*config, "parameters"), "route_mappings");
  if (json_object_size(mappings))
    return sp_fail(SP_EFORMAT, "%s: route_mappings are not supported", *path);
  return SP_OK;
}

static sp_err read_router(const reading *outer, const char *dir) {
  char *path = NULL;
  json_t *config = NULL;
  bool query = false, document = false;
  sp_err err = load_router(outer->where, dir, &path, &config);
  reading r = *outer;
  r.where = path;
  if (!err) err = read_route(&r, dir, config, "document", &document);
  r.query_side = true;
  if (!err) err = read_route(&r, dir, config, "query", &query);
  if (!err && !document)
    err = sp_fail(SP_EFORMAT, "%s: there is no document route", path);
  if (!err && !outer->layout->transformer_dir)
    err = sp_fail(SP_EFORMAT, "%s: the document route has no transformer", path);
  json_decref(config);
  free(path);
  return err;
}

static sp_err read_modules(const reading *r, const json_t *modules) {
  if (!json_is_array(modules))
    return sp_fail(SP_EFORMAT, "%s: not an array of modules", r->where);
  const json_t *module;
  size_t i;
  json_array_foreach(modules, i, module) {
    const char *path = NULL, *type = NULL;
    sp_err err = sp_json_need_string(module, "type", r->where, &type);
    if (!err) err = sp_json_need_string(module, "path", r->where, &path);
    if (!err) err = read_module(r, r->dir, path, type);
    if (err) return err;
  }
  if (!r->layout->transformer_dir)
    return sp_fail(SP_EFORMAT, "%s: there is no transformer among the modules", r->where);
  if (!r->layout->has_pooling && !r->layout->dense_dir)
    return sp_fail(
        SP_EFORMAT,
        "%s: neither SpladePooling nor Dense is there: no sparse vector and no "
        "token vectors come of it",
        r->where);
  if (r->m->tokens.l2 && !r->layout->dense_dir)
    return sp_fail(SP_EFORMAT, "%s: Normalize after SpladePooling is not supported",
                   r->where);
  return SP_OK;
}

sp_err sp_layout_read(sp_model *m, const char *dir, sp_layout *out) {
  *out = (sp_layout){0};
  m->log1p_times = 1;
  char *path = sp_path_join(dir, "modules.json");
  if (!path) return SP_ENOMEM;
  reading r = {.m = m, .layout = out, .dir = dir, .where = path};
  sp_err err = SP_OK;
  json_t *modules = NULL;
  out->own_modules = sp_path_exists(path);
  if (out->own_modules) {
    err = sp_json_load_file(path, MAX_JSON_BYTES, &modules);
    if (!err) err = read_modules(&r, modules);
  } else {
    out->has_pooling = true; /* a plain directory: max of log1p(relu) */
    err = read_transformer(&r, dir);
  }
  json_decref(modules);
  free(path);
  if (err) sp_layout_free(out);
  return err;
}

void sp_layout_free(sp_layout *l) {
  free(l->transformer_dir);
  free(l->adapter_dir);
  free(l->query_table_dir);
  free(l->dense_dir);
  *l = (sp_layout){0};
}
