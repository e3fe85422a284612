/* encoder/safetensors.c - reads what a stranger's file says about itself and believes
 * none of it before it is checked. */
#include "encoder/safetensors.h"

#include <jansson.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/json.h"
#include "base/strmap.h"

/* One file: its mapping, its header and the tensors that point into both. */
typedef struct shard {
  char *path;
  sp_map map;
  json_t *header; /* owns the names */
  sp_tensor *tensors;
  size_t n_tensors;
} shard;

struct sp_tensors {
  char *path; /* the file, or the index */
  shard *shards;
  size_t n_shards;
  sp_strmap *names; /* of all tensors, numbered as in `all` */
  const sp_tensor **all;
  size_t n_all;
};

enum { MAX_INDEX_BYTES = 64 << 20, MAX_SHARDS = 1024 };

static const struct {
  const char *name;
  uint32_t bits;
  sp_dtype dtype;
} DTYPES[] = {{"F32", 32, SP_F32},
              {"F16", 16, SP_F16},
              {"BF16", 16, SP_BF16},
              {"F64", 64, SP_NOT_A_WEIGHT},
              {"I64", 64, SP_NOT_A_WEIGHT},
              {"I32", 32, SP_NOT_A_WEIGHT},
              {"I16", 16, SP_NOT_A_WEIGHT},
              {"I8", 8, SP_NOT_A_WEIGHT},
              {"U64", 64, SP_NOT_A_WEIGHT},
              {"U32", 32, SP_NOT_A_WEIGHT},
              {"U16", 16, SP_NOT_A_WEIGHT},
              {"U8", 8, SP_NOT_A_WEIGHT},
              {"BOOL", 8, SP_NOT_A_WEIGHT},
              {"C64", 64, SP_NOT_A_WEIGHT},
              {"F8_E4M3", 8, SP_NOT_A_WEIGHT},
              {"F8_E5M2", 8, SP_NOT_A_WEIGHT}};

/* Whole numbers came in as doubles (see parse_header): up to 2^53 they are exact, and no
 * file is larger than that. Says what is wrong with others. */
static const char *whole_number(const json_t *v, uint64_t *out) {
  if (!json_is_real(v)) return "is not a whole number";
  double x = json_real_value(v);
  if (x < 0) return "is negative";
  if (x > 9007199254740992.0) return "is too large for any file";
  if (x != (double)(uint64_t)x) return "is not a whole number";
  *out = (uint64_t)x;
  return NULL;
}

static sp_err parse_dtype(const json_t *o, const char *where, sp_tensor *t,
                          uint32_t *bits) {
  const char *name = json_string_value(json_object_get(o, "dtype"));
  if (!name) return sp_fail(SP_EFORMAT, "%s: %s has no dtype", where, t->name);
  for (size_t i = 0; i < sizeof DTYPES / sizeof *DTYPES; i++)
    if (!strcmp(DTYPES[i].name, name)) {
      t->dtype = DTYPES[i].dtype;
      t->dtype_name = DTYPES[i].name;
      *bits = DTYPES[i].bits;
      return SP_OK;
    }
  return sp_fail(SP_EFORMAT, "%s: the dtype of %s is unknown (%.32s)", where, t->name,
                 name);
}

static sp_err parse_shape(const json_t *o, const char *where, sp_tensor *t,
                          uint64_t *n_elements) {
  const json_t *shape = json_object_get(o, "shape");
  if (!json_is_array(shape))
    return sp_fail(SP_EFORMAT, "%s: the shape of %s is not an array of whole numbers",
                   where, t->name);
  size_t n = json_array_size(shape);
  if (n > SP_TENSOR_MAX_DIMS)
    return sp_fail(SP_EFORMAT,
                   "%s: the shape of %s has %zu dimensions, at most %d are read", where,
                   t->name, n, SP_TENSOR_MAX_DIMS);
  t->n_dims = (uint32_t)n;
  uint64_t product = 1;
  bool overflow = false;
  for (size_t i = 0; i < n; i++) {
    const char *fault = whole_number(json_array_get(shape, i), &t->shape[i]);
    if (fault)
      return sp_fail(SP_EFORMAT, "%s: dimension %zu of the shape of %s %s", where, i,
                     t->name, fault);
    overflow |= __builtin_mul_overflow(product, t->shape[i], &product);
  }
  if (overflow)
    return sp_fail(SP_EFORMAT, "%s: the shape of %s overflows 64 bits", where, t->name);
  *n_elements = product;
  return SP_OK;
}

static sp_err parse_offsets(const json_t *o, const char *where, const char *name,
                            uint64_t data_bytes, uint64_t offsets[2]) {
  const json_t *pair = json_object_get(o, "data_offsets");
  if (!json_is_array(pair))
    return sp_fail(SP_EFORMAT, "%s: %s has no data_offsets", where, name);
  if (json_array_size(pair) != 2)
    return sp_fail(SP_EFORMAT, "%s: data_offsets of %s has %zu entries, expected 2",
                   where, name, json_array_size(pair));
  for (size_t i = 0; i < 2; i++) {
    const char *fault = whole_number(json_array_get(pair, i), &offsets[i]);
    if (fault)
      return sp_fail(SP_EFORMAT, "%s: the %s offset of %s %s", where, i ? "end" : "begin",
                     name, fault);
  }
  if (offsets[0] > offsets[1])
    return sp_fail(SP_EFORMAT, "%s: the offsets of %s are reversed (%llu > %llu)", where,
                   name, (unsigned long long)offsets[0], (unsigned long long)offsets[1]);
  if (offsets[1] > data_bytes)
    return sp_fail(
        SP_EFORMAT,
        "%s: the data of %s ends at byte %llu, the file holds %llu bytes of data "
        "(cut short?)",
        where, name, (unsigned long long)offsets[1], (unsigned long long)data_bytes);
  return SP_OK;
}

static sp_err parse_tensor(const json_t *o, const char *where, const uint8_t *data,
                           uint64_t data_bytes, sp_tensor *t) {
  if (!json_is_object(o))
    return sp_fail(SP_EFORMAT, "%s: %s is not described by an object", where, t->name);
  uint32_t bits = 0;
  uint64_t n_elements = 0, offsets[2] = {0, 0}, n_bytes;
  sp_err err = parse_dtype(o, where, t, &bits);
  if (!err) err = parse_shape(o, where, t, &n_elements);
  if (!err) err = parse_offsets(o, where, t->name, data_bytes, offsets);
  if (err) return err;
  if (__builtin_mul_overflow(n_elements, bits / 8, &n_bytes))
    return sp_fail(SP_EFORMAT, "%s: the shape of %s overflows 64 bits", where, t->name);
  if (n_bytes != offsets[1] - offsets[0])
    return sp_fail(SP_EFORMAT,
                   "%s: %s has %llu bytes, its shape and dtype %s ask for %llu", where,
                   t->name, (unsigned long long)(offsets[1] - offsets[0]), t->dtype_name,
                   (unsigned long long)n_bytes);
  t->data = data + offsets[0];
  t->n_bytes = n_bytes;
  return SP_OK;
}

/* By place, and empty ones before what begins at the same place. */
static int by_data(const void *a, const void *b) {
  const sp_tensor *x = *(const sp_tensor *const *)a, *y = *(const sp_tensor *const *)b;
  if (x->data != y->data) return (const char *)x->data < (const char *)y->data ? -1 : 1;
  return (x->n_bytes > y->n_bytes) - (x->n_bytes < y->n_bytes);
}

static sp_err check_overlap(const shard *s, const char *where) {
  const sp_tensor **order = malloc((s->n_tensors + 1) * sizeof *order);
  if (!order) return sp_fail(SP_ENOMEM, "%s: out of memory", where);
  for (size_t i = 0; i < s->n_tensors; i++) order[i] = &s->tensors[i];
  qsort(order, s->n_tensors, sizeof *order, by_data);
  sp_err err = SP_OK;
  for (size_t i = 1; i < s->n_tensors && !err; i++) {
    const char *end = (const char *)order[i - 1]->data + order[i - 1]->n_bytes;
    if (end > (const char *)order[i]->data)
      err = sp_fail(SP_EFORMAT, "%s: the data of %s overlaps that of %s", where,
                    order[i]->name, order[i - 1]->name);
  }
  free(order);
  return err;
}

/* jansson tells where the second of two equal keys ended, not which key it was. */
static sp_err named_twice(const char *text, size_t n, const json_error_t *e,
                          const char *where) {
  size_t end = e->position > 0 && (size_t)e->position <= n ? (size_t)e->position : 1;
  size_t begin = --end;
  while (begin > 0 && text[begin - 1] != '"') begin--;
  return sp_fail(SP_EFORMAT, "%s: %.*s is named twice in the header", where,
                 (int)(end - begin < 200 ? end - begin : 200), text + begin);
}

static sp_err parse_header(const uint8_t *data, size_t n, const char *where, json_t **out,
                           const uint8_t **payload) {
  if (n == 0) return sp_fail(SP_EFORMAT, "%s: the file is empty", where);
  if (n < 8)
    return sp_fail(SP_EFORMAT, "%s: %zu bytes, shorter than the 8 of the header's length",
                   where, n);
  uint64_t length = 0;
  for (int i = 7; i >= 0; i--) length = length << 8 | data[i];
  if (length == 0) return sp_fail(SP_EFORMAT, "%s: the header is empty", where);
  if (length > n - 8)
    return sp_fail(SP_EFORMAT,
                   "%s: the header's length %llu is larger than the file (%zu)", where,
                   (unsigned long long)length, n);
  const char *text = (const char *)data + 8;
  json_error_t e;
  *out =
      json_loadb(text, length,
                 JSON_REJECT_DUPLICATES | JSON_DECODE_INT_AS_REAL | JSON_DECODE_ANY, &e);
  if (!*out) {
    if (json_error_code(&e) == json_error_out_of_memory)
      return sp_fail(SP_ENOMEM, "%s: out of memory", where);
    if (json_error_code(&e) == json_error_duplicate_key)
      return named_twice(text, length, &e, where);
    return sp_fail(SP_EFORMAT, "%s: the header is not JSON: %s (at byte %d)", where,
                   e.text, 8 + e.position);
  }
  if (!json_is_object(*out))
    return sp_fail(SP_EFORMAT, "%s: the header is not a JSON object", where);
  *payload = data + 8 + length;
  return SP_OK;
}

/* s->path is set; names are borrowed from s->header. */
static sp_err parse_shard(shard *s, const uint8_t *data, size_t n) {
  const uint8_t *payload = NULL;
  sp_err err = parse_header(data, n, s->path, &s->header, &payload);
  if (err) return err;
  s->tensors = calloc(json_object_size(s->header) + 1, sizeof *s->tensors);
  if (!s->tensors) return sp_fail(SP_ENOMEM, "%s: out of memory", s->path);
  uint64_t data_bytes = n - (size_t)(payload - data);
  const char *name;
  json_t *o;
  json_object_foreach(s->header, name, o) {
    if (!strcmp(name, "__metadata__")) continue;
    sp_tensor *t = &s->tensors[s->n_tensors];
    t->name = name;
    t->file = s->path;
    err = parse_tensor(o, s->path, payload, data_bytes, t);
    if (err) return err;
    s->n_tensors++;
  }
  return check_overlap(s, s->path);
}

static sp_err open_shard(const char *path, shard *s) {
  s->path = strdup(path);
  if (!s->path) return sp_fail(SP_ENOMEM, "%s: out of memory", path);
  sp_err err = sp_map_open(path, &s->map);
  return err ? err : parse_shard(s, s->map.data, s->map.n);
}

/* Makes the one table of names over all shards. */
static sp_err index_names(sp_tensors *t) {
  size_t total = 0;
  for (size_t i = 0; i < t->n_shards; i++) total += t->shards[i].n_tensors;
  t->all = calloc(total + 1, sizeof *t->all);
  if (!t->all) return sp_fail(SP_ENOMEM, "%s: out of memory", t->path);
  sp_err err = sp_strmap_new(&t->names);
  for (size_t i = 0; i < t->n_shards && !err; i++)
    for (size_t j = 0; j < t->shards[i].n_tensors && !err; j++) {
      const sp_tensor *tensor = &t->shards[i].tensors[j];
      uint32_t number;
      err = sp_strmap_add(t->names, tensor->name, strlen(tensor->name), &number);
      if (!err && number != t->n_all)
        err = sp_fail(SP_EFORMAT, "%s: %s lies in %s too", t->path, tensor->name,
                      t->all[number]->file);
      if (!err) t->all[t->n_all++] = tensor;
    }
  return err;
}

static sp_err new_tensors(const char *path, size_t max_shards, sp_tensors **out) {
  sp_tensors *t = calloc(1, sizeof *t);
  if (t) {
    t->path = strdup(path);
    t->shards = calloc(max_shards, sizeof *t->shards);
  }
  if (!t || !t->path || !t->shards) {
    sp_tensors_close(t);
    return sp_fail(SP_ENOMEM, "%s: out of memory", path);
  }
  *out = t;
  return SP_OK;
}

static sp_err finish(sp_err err, sp_tensors *t, sp_tensors **out) {
  if (!err) err = index_names(t);
  if (err)
    sp_tensors_close(t);
  else
    *out = t;
  return err;
}

sp_err sp_tensors_open(const char *path, sp_tensors **out) {
  *out = NULL;
  sp_tensors *t = NULL;
  sp_err err = new_tensors(path, 1, &t);
  if (err) return err;
  t->n_shards = 1;
  return finish(open_shard(path, &t->shards[0]), t, out);
}

sp_err sp_tensors_parse(const uint8_t *data, size_t n, const char *where,
                        sp_tensors **out) {
  *out = NULL;
  sp_tensors *t = NULL;
  sp_err err = new_tensors(where, 1, &t);
  if (err) return err;
  t->n_shards = 1;
  t->shards[0].path = strdup(where);
  if (!t->shards[0].path)
    err = sp_fail(SP_ENOMEM, "%s: out of memory", where);
  else
    err = parse_shard(&t->shards[0], data, n);
  return finish(err, t, out);
}

static const char *base_name(const char *path) {
  const char *slash = strrchr(path, '/');
  return slash ? slash + 1 : path;
}

/* The shard of that file name, opened on its first mention. */
static sp_err shard_of(sp_tensors *t, const char *dir, const char *file, size_t *at) {
  if (!*file || *file == '/' || strstr(file, "..") || !strcmp(file, "."))
    return sp_fail(SP_EFORMAT, "%s: the shard name %.200s leaves the directory", t->path,
                   file);
  if (strchr(file, '/'))
    return sp_fail(SP_EFORMAT,
                   "%s: the shard %.200s lies in another folder, which is not supported",
                   t->path, file);
  for (*at = 0; *at < t->n_shards; ++*at)
    if (!strcmp(base_name(t->shards[*at].path), file)) return SP_OK;
  if (t->n_shards == MAX_SHARDS)
    return sp_fail(SP_EFORMAT, "%s: more than %d shards", t->path, MAX_SHARDS);
  char *path = sp_path_join(dir, file);
  if (!path) return SP_ENOMEM;
  sp_err err = SP_OK;
  if (!sp_path_exists(path))
    err = sp_fail(SP_ENOTFOUND, "%s: it names %s, which is not there", t->path, file);
  if (!err) {
    t->n_shards++;
    err = open_shard(path, &t->shards[*at]);
  }
  free(path);
  return err;
}

static sp_err open_shards(sp_tensors *t, const char *dir, const json_t *index) {
  json_t *map = json_object_get(index, "weight_map");
  if (!json_is_object(map))
    return sp_fail(SP_EFORMAT, "%s: weight_map is missing", t->path);
  const char *name;
  json_t *file;
  json_object_foreach(map, name, file) {
    if (!json_is_string(file))
      return sp_fail(SP_EFORMAT, "%s: the shard of %s is not a file name", t->path, name);
    size_t at = 0;
    sp_err err = shard_of(t, dir, json_string_value(file), &at);
    if (err) return err;
    if (!json_object_get(t->shards[at].header, name))
      return sp_fail(SP_EFORMAT, "%s: it says %s is in %s, and it is not there", t->path,
                     name, json_string_value(file));
  }
  return SP_OK;
}

static sp_err open_sharded(const char *dir, const char *index_path, sp_tensors **out) {
  json_t *index;
  sp_err err = sp_json_load_file(index_path, MAX_INDEX_BYTES, &index);
  if (err) return err;
  sp_tensors *t = NULL;
  err = new_tensors(index_path, MAX_SHARDS, &t);
  if (!err) err = finish(open_shards(t, dir, index), t, out);
  json_decref(index);
  return err;
}

sp_err sp_tensors_open_dir(const char *dir, sp_tensors **out) {
  *out = NULL;
  char *single = sp_path_join(dir, "model.safetensors");
  char *index = sp_path_join(dir, "model.safetensors.index.json");
  char *pickle = sp_path_join(dir, "pytorch_model.bin");
  sp_err err;
  if (!single || !index || !pickle)
    err = SP_ENOMEM;
  else if (sp_path_exists(single))
    err = sp_tensors_open(single, out);
  else if (sp_path_exists(index))
    err = open_sharded(dir, index, out);
  else if (sp_path_exists(pickle))
    err =
        sp_fail(SP_ENOTFOUND,
                "%s: only a pickle is there, which is never opened; model.safetensors is "
                "missing",
                pickle);
  else
    err = sp_fail(SP_ENOTFOUND,
                  "%s: neither it nor model.safetensors.index.json is there", single);
  free(single);
  free(index);
  free(pickle);
  return err;
}

void sp_tensors_close(sp_tensors *t) {
  if (!t) return;
  for (size_t i = 0; i < t->n_shards; i++) {
    shard *s = &t->shards[i];
    json_decref(s->header);
    free(s->tensors);
    sp_map_close(&s->map);
    free(s->path);
  }
  sp_strmap_free(t->names);
  free(t->all);
  free(t->shards);
  free(t->path);
  free(t);
}

void sp_tensors_forget(const sp_tensors *t) {
  for (size_t i = 0; i < t->n_shards; i++) sp_map_forget(&t->shards[i].map);
}

const sp_tensor *sp_tensors_find(const sp_tensors *t, const char *name) {
  uint32_t number = sp_strmap_find(t->names, name, strlen(name));
  return number == SP_STRMAP_NONE ? NULL : t->all[number];
}

size_t sp_tensors_count(const sp_tensors *t) {
  return t->n_all;
}

const sp_tensor *sp_tensors_at(const sp_tensors *t, size_t i) {
  return t->all[i];
}

const char *sp_tensors_path(const sp_tensors *t) {
  return t->path;
}
