/* encoder/model_lora.c - adapters as PEFT saves them (adapter_config.json,
 * adapter_model.safetensors), put onto their base model's matrices.
 *
 * W' = W + s B A with s = alpha / r, or alpha / sqrt(r) for rank-stabilised ones
 * (Kalajdzievski 2023); r and alpha per module where a pattern names it. Every kind of
 * adapter that this sum would be wrong for is refused. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/json.h"
#include "encoder/model_parts.h"

enum { MAX_JSON_BYTES = 4 << 20, MAX_RANK = 1 << 16 };

/* Settings that must be absent, null, false or empty. */
static const char *const UNSUPPORTED[] = {"use_dora",
                                          "fan_in_fan_out",
                                          "use_qalora",
                                          "use_bdlora",
                                          "lora_bias",
                                          "layer_replication",
                                          "modules_to_save",
                                          "target_parameters",
                                          "trainable_token_indices",
                                          "alora_invocation_tokens",
                                          "arrow_config",
                                          "kasa_config",
                                          "velora_config",
                                          "monteclora_config"};

static bool is_set(const json_t *v) {
  return v && !json_is_null(v) && !json_is_false(v) &&
         !((json_is_object(v) && !json_object_size(v)) ||
           (json_is_array(v) && !json_array_size(v)));
}

/* Some starts of training take their part out of the base's weights, so the sum with the
 * whole base is wrong; these leave the base alone. */
static bool keeps_base(const json_t *init) {
  const char *name = json_string_value(init);
  return !name || !strcmp(name, "gaussian") || !strcmp(name, "eva") ||
         !strcmp(name, "orthogonal");
}

static sp_err load_config(const char *dir, char **path, json_t **config) {
  *path = sp_path_join(dir, "adapter_config.json");
  if (!*path) return SP_ENOMEM;
  sp_err err = sp_json_load_file(*path, MAX_JSON_BYTES, config);
  const char *kind = "LORA", *bias = "none";
  if (!err) err = sp_json_need_string(*config, "peft_type", *path, &kind);
  if (!err && strcmp(kind, "LORA"))
    err = sp_fail(SP_EFORMAT, "%s: the peft_type %.100s is not supported", *path, kind);
  if (!err) err = sp_json_get_string(*config, "bias", *path, &bias);
  if (!err && strcmp(bias, "none"))
    err = sp_fail(SP_EFORMAT, "%s: bias \"%.100s\" is not supported", *path, bias);
  for (size_t i = 0; i < sizeof UNSUPPORTED / sizeof *UNSUPPORTED && !err; i++)
    if (is_set(json_object_get(*config, UNSUPPORTED[i])))
      err = sp_fail(SP_EFORMAT, "%s: %s is not supported", *path, UNSUPPORTED[i]);
  const json_t *init = json_object_get(*config, "init_lora_weights");
  if (!err && !keeps_base(init))
    err = sp_fail(SP_EFORMAT, "%s: init_lora_weights \"%.100s\" is not supported", *path,
                  json_string_value(init));
  return err;
}

sp_err sp_lora_base(const char *dir, char **base) {
  *base = NULL;
  char *path = NULL;
  json_t *config = NULL;
  const char *name = NULL;
  sp_err err = load_config(dir, &path, &config);
  if (!err) err = sp_json_need_string(config, "base_model_name_or_path", path, &name);
  if (!err) {
    *base = *name == '/' ? strdup(name) : sp_path_join(dir, name);
    if (!*base) err = sp_fail(SP_ENOMEM, "%s: out of memory", path);
  }
  if (!err && !sp_path_is_dir(*base))
    err =
        sp_fail(SP_ENOTFOUND,
                "%s: the base model %.200s is not there: put its directory at %.300s, or "
                "its path into base_model_name_or_path",
                path, name, *base);
  if (err) {
    free(*base);
    *base = NULL;
  }
  json_decref(config);
  free(path);
  return err;
}

/* An adapter being put on. */
typedef struct adapter {
  const char *path; /* adapter_config.json */
  const json_t *config;
  const sp_tensors *files;
  sp_model *m;
  bool rank_stabilised;
} adapter;

/* PEFT matches a pattern's key against the end of the module's name, at a dot. The keys are
 * regular expressions there; plain names are what is found in files, so that the only thing
 * to know is that a dot stands for any character. */
static bool matches(const char *key, const char *s) {
  for (; *key && *s; key++, s++)
    if (*key != '.' && *key != *s) return false;
  return !*key && !*s;
}

static const json_t *in_pattern(const adapter *a, const char *pattern,
                                const char *module) {
  const char *key;
  json_t *value;
  json_object_foreach(json_object_get(a->config, pattern), key, value) {
    size_t n = strlen(module), k = strlen(key);
    if (k <= n && matches(key, module + n - k) && (k == n || module[n - k - 1] == '.'))
      return value;
  }
  return json_object_get(a->config,
                         !strcmp(pattern, "rank_pattern") ? "r" : "lora_alpha");
}

static sp_err check_pattern_keys(const adapter *a, const char *pattern) {
  const char *key;
  json_t *value;
  json_object_foreach(json_object_get(a->config, pattern), key, value) {
    if (key[strspn(key,
                   "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.")])
      return sp_fail(SP_EFORMAT, "%s: the %s key %.100s is not a plain name", a->path,
                     pattern, key);
  }
  return SP_OK;
}

/* Finds the matrices that lie in the tensor: more than one where it is fused. */
typedef struct target {
  const sp_tensor *base;
  sp_lora lora;
  uint32_t n_matrices; /* it was put onto */
} target;

static sp_err attach(void *context, const char *role, const sp_matrix *matrix) {
  (void)role;
  target *t = context;
  const char *begin = t->base->data, *at = matrix->data;
  if (at < begin || at >= begin + t->base->n_bytes) return SP_OK;
  sp_matrix *m = (sp_matrix *)(uintptr_t)matrix; /* the walk is over our own model */
  m->lora = t->lora;
  t->n_matrices++;
  size_t row_bytes = (size_t)m->cols * (m->dtype == SP_F32 ? 4 : 2);
  m->lora.first_row = (uint32_t)((size_t)(at - begin) / row_bytes);
  return SP_OK;
}

static sp_err check_ranks(const char *module, const sp_tensor *base, const sp_lora *l,
                          uint32_t r) {
  if (l->a->n_dims != 2 || l->b->n_dims != 2 || base->n_dims != 2 ||
      l->a->dtype == SP_NOT_A_WEIGHT || l->b->dtype == SP_NOT_A_WEIGHT)
    return sp_fail(SP_EFORMAT, "%s: the tensors of %s are not matrices of weights",
                   l->a->file, module);
  if (l->a->shape[0] != r || l->b->shape[1] != r)
    return sp_fail(SP_EFORMAT,
                   "%s: the tensors of %s have rank %llu, adapter_config.json "
                   "says %u",
                   l->a->file, module, (unsigned long long)l->a->shape[0], r);
  if (l->a->shape[1] != base->shape[1] || l->b->shape[0] != base->shape[0])
    return sp_fail(SP_EFORMAT, "%s: the tensors of %s do not fit the base model's matrix",
                   l->a->file, module);
  return SP_OK;
}

/* The base's tensor of that module, in whichever of its files. */
static const sp_tensor *find_base(const sp_model *m, const char *module) {
  char name[300];
  if ((size_t)snprintf(name, sizeof name, "%s.weight", module) >= sizeof name)
    return NULL;
  for (size_t i = 0; i < m->n_files; i++) {
    const sp_tensor *t = sp_tensors_find(m->files[i], name);
    if (t) return t;
  }
  return NULL;
}

static sp_err apply_module(const adapter *a, const char *module, const sp_lora *pair) {
  const sp_tensor *base = find_base(a->m, module);
  if (!base)
    return sp_fail(SP_EFORMAT, "%s: it has tensors for %s, which the base model lacks",
                   pair->a->file, module);
  const json_t *r = in_pattern(a, "rank_pattern", module);
  const json_t *alpha = in_pattern(a, "alpha_pattern", module);
  if (!json_is_integer(r) || json_integer_value(r) < 1 ||
      json_integer_value(r) > MAX_RANK)
    return sp_fail(SP_EFORMAT, "%s: the rank of %s is not a whole number from 1 to %d",
                   a->path, module, MAX_RANK);
  if (!json_is_number(alpha))
    return sp_fail(SP_EFORMAT, "%s: lora_alpha of %s is not a number", a->path, module);
  uint32_t rank = (uint32_t)json_integer_value(r);
  target t = {.base = base, .lora = *pair};
  sp_err err = check_ranks(module, base, &t.lora, rank);
  if (err) return err;
  double divisor = a->rank_stabilised ? sqrt(rank) : rank;
  t.lora.scale = (float)(json_number_value(alpha) / divisor);
  err = sp_model_visit(a->m, attach, &t);
  if (!err && !t.n_matrices)
    err = sp_fail(SP_EFORMAT, "%s: it has tensors for %s, which the network does not use",
                  pair->a->file, module);
  return err;
}

static const char PREFIX[] = "base_model.model.";
static const char SUFFIX_A[] = ".lora_A.weight", SUFFIX_B[] = ".lora_B.weight";

static bool ends_with(const char *s, const char *end) {
  size_t n = strlen(s), k = strlen(end);
  return n >= k && !strcmp(s + n - k, end);
}

/* Takes each lora_A with its lora_B; a B without its A is found when it is B's turn. */
static sp_err apply_tensor(const adapter *a, const sp_tensor *t) {
  size_t n = strlen(t->name), prefix = sizeof PREFIX - 1, suffix = sizeof SUFFIX_A - 1;
  bool is_a = ends_with(t->name, SUFFIX_A);
  char module[256], other_name[300];
  if ((!is_a && !ends_with(t->name, SUFFIX_B)) || strncmp(t->name, PREFIX, prefix) ||
      n - suffix <= prefix || n - suffix - prefix >= sizeof module)
    return sp_fail(SP_EFORMAT, "%s: %.200s is not a LoRA matrix", t->file, t->name);
  size_t length = n - suffix - prefix;
  memcpy(module, t->name + prefix, length);
  module[length] = '\0';
  snprintf(other_name, sizeof other_name, "%s%s%s", PREFIX, module,
           is_a ? SUFFIX_B : SUFFIX_A);
  const sp_tensor *other = sp_tensors_find(a->files, other_name);
  if (!other)
    return sp_fail(SP_EFORMAT, "%s: %s is there without its %s", t->file, t->name,
                   is_a ? "lora_B" : "lora_A");
  return is_a ? apply_module(a, module, &(sp_lora){.a = t, .b = other}) : SP_OK;
}

sp_err sp_lora_apply(sp_model *m, const char *dir) {
  char *path = NULL;
  json_t *config = NULL;
  sp_tensors *files = NULL;
  sp_err err = load_config(dir, &path, &config);
  adapter a = {.path = path, .config = config, .m = m};
  if (!err) err = sp_json_get_bool(config, "use_rslora", path, &a.rank_stabilised);
  if (!err) err = check_pattern_keys(&a, "rank_pattern");
  if (!err) err = check_pattern_keys(&a, "alpha_pattern");
  if (!err) err = sp_model_add_file(m, dir, "adapter_model.safetensors", &files);
  a.files = files;
  for (size_t i = 0; !err && i < sp_tensors_count(files); i++)
    err = apply_tensor(&a, sp_tensors_at(files, i));
  json_decref(config);
  free(path);
  return err;
}
