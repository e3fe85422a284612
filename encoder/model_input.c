/* encoder/model_input.c - what happens to a text before the network: its prompt, the
 * longest input, the tokenizer's files. */
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/json.h"
#include "encoder/model_parts.h"

/* sentence-transformers always has both prompts, empty where the file names none: its
 * default_prompt_name, and the names passage and corpus, are for other calls. */
static sp_err read_prompt(const json_t *o, const char *where, const char *name,
                          char **out) {
  const char *prompt = NULL;
  sp_err err = sp_json_get_string(json_object_get(o, "prompts"), name, where, &prompt);
  if (err) return err;
  *out = strdup(prompt ? prompt : "");
  return *out ? SP_OK : sp_fail(SP_ENOMEM, "%s: out of memory", where);
}

/* PyLate says in this file what sentence-transformers' token models say in their modules:
 * prefixes as tokens of their own, lengths, a filled-up query, words to skip. */
static sp_err refuse_pylate(const json_t *o, const char *where) {
  static const char *const NAMES[] = {"query_prefix",    "document_prefix",
                                      "query_length",    "document_length",
                                      "query_expansion", "do_query_expansion",
                                      "skiplist_words",  "attend_to_expansion_tokens"};
  for (size_t i = 0; i < sizeof NAMES / sizeof *NAMES; i++) {
    const json_t *v = json_object_get(o, NAMES[i]);
    if (v && !json_is_null(v))
      return sp_fail(SP_EFORMAT,
                     "%s: %s is PyLate's, which is not supported: save the model once "
                     "more with sentence-transformers' MultiVectorEncoder",
                     where, NAMES[i]);
  }
  return SP_OK;
}

static sp_err read_prompts(sp_model *m, bool token_vectors) {
  char *path = NULL;
  json_t *o = NULL;
  sp_err err = sp_model_load_json(m, "config_sentence_transformers.json", &path, &o);
  const char *where = path ? path : m->dir;
  if (!err && token_vectors) err = refuse_pylate(o, where);
  if (!err) err = read_prompt(o, where, "document", &m->document_prompt);
  if (!err) err = read_prompt(o, where, "query", &m->query_prompt);
  if (!err)
    err =
        sp_json_get_u32(o, "max_active_dims", where, 1, UINT32_MAX, &m->max_active_dims);
  json_decref(o);
  free(path);
  return err;
}

static sp_err read_expansion(sp_model *m, const char *path, const json_t *o) {
  sp_token_projection *t = &m->tokens;
  const json_t *e = json_object_get(o, "query_expansion");
  sp_err err =
      sp_json_get_u32(o, "document_length", path, 1, m->max_length, &m->document_length);
  if (!err)
    err = sp_json_get_u32(o, "query_length", path, 1, m->max_length, &m->query_length);
  if (err || !e || json_is_null(e)) return err;
  const char *strategy = "fixed", *token = NULL;
  err = sp_json_get_string(e, "strategy", path, &strategy);
  if (!err) err = sp_json_get_string(e, "token", path, &token);
  if (!err && (strcmp(strategy, "fixed") || token))
    err = sp_fail(SP_EFORMAT,
                  "%s: query_expansion other than \"fixed\" with [MASK] is not "
                  "supported",
                  path);
  if (!err) err = sp_json_get_bool(e, "attend", path, &t->attend_to_fill);
  if (!err) err = sp_json_get_u32(e, "length", path, 1, m->max_length, &t->query_length);
  return err;
}

/* The tokenizer's file, and the folder that it lies in: the adapter's own where it brings
 * one. */
static sp_err find_tokenizer(sp_model *m, const sp_layout *l, const char **dir) {
  const char *const places[] = {l->adapter_dir, l->transformer_dir};
  sp_architecture a = m->config.architecture;
  sp_err err = SP_OK;
  for (size_t i = 0; i < 2 && !err && !m->tokenizer_path; i++) {
    *dir = places[i];
    if (!*dir) continue;
    m->tokenizer_path = sp_path_if_exists(*dir, "tokenizer.json", &err);
    if (!err && !m->tokenizer_path && (a == SP_BERT || a == SP_DISTILBERT))
      m->tokenizer_path = sp_path_if_exists(*dir, "vocab.txt", &err);
  }
  return err;
}

/* The file's names, in sentence-transformers' order: older ones have the family in them. */
static sp_err load_any_config(const char *dir, char **path, json_t **out) {
  static const char *const NAMES[] = {
      "sentence_bert_config.json",       "sentence_roberta_config.json",
      "sentence_distilbert_config.json", "sentence_camembert_config.json",
      "sentence_albert_config.json",     "sentence_xlm-roberta_config.json",
      "sentence_xlnet_config.json",
  };
  sp_err err = SP_OK;
  for (size_t i = 0; i < sizeof NAMES / sizeof *NAMES && !err && !*out; i++) {
    free(*path);
    err = sp_json_load_beside(dir, NAMES[i], false, path, out);
    if (*out && json_object_size(*out) == 0) { /* passed over there too */
      json_decref(*out);
      *out = NULL;
    }
  }
  return err;
}

/* Of sentence-transformers' module; an adapter that came with its base's layout has the
 * base's too. */
static sp_err load_module_config(const sp_layout *l, char **path, json_t **out) {
  const char *const dirs[] = {
      l->adapter_dir, l->adapter_dir && l->own_modules ? NULL : l->transformer_dir};
  sp_err err = SP_OK;
  for (size_t i = 0; i < 2 && !err && !*out; i++) {
    if (dirs[i]) err = load_any_config(dirs[i], path, out);
  }
  return err;
}

/* Settings of the constructors and calls behind the module: each may change the ids or the
 * network, whatever the other files say. Only what has to do with fetching is passed over. */
static sp_err refuse_settings(const json_t *o, const char *where) {
  static const char *const NAMES[] = {"processing_kwargs", "processor_kwargs",
                                      "tokenizer_args", "config_kwargs", "config_args"};
  static const char *const HARMLESS[] = {
      "trust_remote_code", "use_fast",         "revision",    "token",
      "cache_dir",         "local_files_only", "padding_side"};
  for (size_t i = 0; i < sizeof NAMES / sizeof *NAMES; i++) {
    const char *key;
    json_t *value;
    json_object_foreach(json_object_get(o, NAMES[i]), key, value) {
      bool harmless = false;
      for (size_t k = 0; k < sizeof HARMLESS / sizeof *HARMLESS; k++)
        harmless |= !strcmp(HARMLESS[k], key);
      if (!harmless)
        return sp_fail(SP_EFORMAT, "%s: %.100s in %s is not supported", where, key,
                       NAMES[i]);
    }
  }
  return SP_OK;
}

/* SpladePooling over anything but the head's logits gives no terms. */
static sp_err check_task(const json_t *o, const char *where, bool pooling) {
  const char *task = "fill-mask";
  sp_err err = sp_json_get_string(o, "transformer_task", where, &task);
  if (err || !pooling || !strcmp(task, "fill-mask") || !strcmp(task, "text-generation"))
    return err;
  return sp_fail(
      SP_EFORMAT,
      "%s: the transformer_task %.60s has no logits for SpladePooling: expected "
      "fill-mask",
      where, task);
}

sp_err sp_model_max_length(const char *dir, double *out) {
  char *path;
  json_t *o;
  sp_err err = sp_json_load_beside(dir, "tokenizer_config.json", true, &path, &o);
  if (!err) /* the older name first: the newer one counts */
    err = sp_json_get_double(o, "max_len", path, 1, 1e300, out);
  if (!err) err = sp_json_get_double(o, "model_max_length", path, 1, 1e300, out);
  const char *side = "right";
  if (!err) err = sp_json_get_string(o, "truncation_side", path, &side);
  if (!err && strcmp(side, "right"))
    err = sp_fail(SP_EFORMAT, "%s: truncation_side %.20s is not supported", path, side);
  json_decref(o);
  free(path);
  return err;
}

/* The longest input: max_seq_length where the directory says it, else the tokenizer's
 * model_max_length; never more than the network has positions for. */
static sp_err read_lengths(sp_model *m, const sp_layout *l, const char *tokenizer_dir) {
  char *path = NULL;
  json_t *o = NULL;
  uint32_t positions = m->config.max_positions;
  m->max_length = positions;
  uint32_t seq_length = 0;
  double model_max = positions;
  sp_err err = load_module_config(l, &path, &o);
  if (!err) err = sp_model_max_length(tokenizer_dir, &model_max);
  if (!err) err = sp_json_get_u32(o, "max_seq_length", path, 1, UINT32_MAX, &seq_length);
  double limit = seq_length ? seq_length : model_max;
  if (limit < positions) m->max_length = (uint32_t)limit;
  if (!err) err = sp_json_get_bool(o, "do_lower_case", path, &m->lowercase);
  if (!err) err = refuse_settings(o, path);
  if (!err) err = check_task(o, path, l->has_pooling);
  if (!err) err = read_expansion(m, path, o);
  json_decref(o);
  free(path);
  return err;
}

sp_err sp_model_read_input(sp_model *m, const sp_layout *l) {
  const char *dir = l->transformer_dir;
  sp_err err = find_tokenizer(m, l, &dir);
  if (!err) err = read_lengths(m, l, dir);
  return err ? err : read_prompts(m, l->dense_dir);
}
