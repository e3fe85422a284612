/* tests/tiny_model.c - writes tests/tiny_model.h's files. */
#include "tests/tiny_model.h"

#include <ftw.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

const char TINY_VOCAB_TXT[] =
    "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\nthe\nheron\nThe\nHeron\n##s\ncaf\n##e\n##"
    "\xc3\xa9\n"
    "\xe6\x9d\xb1\n##\xe4\xba\xac\n\xe4\xba\xac\nwaits\nsearch\n:\n";

static const char CONFIG[] =
    "{\"architectures\": [\"BertForMaskedLM\"], \"model_type\": \"bert\","
    " \"vocab_size\": 19, \"hidden_size\": 8, \"num_hidden_layers\": 1,"
    " \"num_attention_heads\": 2, \"intermediate_size\": 12, \"hidden_act\": \"gelu\","
    " \"max_position_embeddings\": 32, \"type_vocab_size\": 2}";

#define LAYER "bert.encoder.layer.0."
#define LINEAR(name, out, in)         \
  {name ".weight", out, in, false}, { \
    name ".bias", 0, out, false       \
  }
#define NORM(name)                \
  {name ".weight", 0, 8, true}, { \
    name ".bias", 0, 8, false     \
  }

static const tiny_tensor BERT[] = {
    {"bert.embeddings.word_embeddings.weight", 19, 8, false},
    {"bert.embeddings.position_embeddings.weight", 32, 8, false},
    {"bert.embeddings.token_type_embeddings.weight", 2, 8, false},
    NORM("bert.embeddings.LayerNorm"),
    LINEAR(LAYER "attention.self.query", 8, 8),
    LINEAR(LAYER "attention.self.key", 8, 8),
    LINEAR(LAYER "attention.self.value", 8, 8),
    LINEAR(LAYER "attention.output.dense", 8, 8),
    NORM(LAYER "attention.output.LayerNorm"),
    LINEAR(LAYER "intermediate.dense", 12, 8),
    LINEAR(LAYER "output.dense", 8, 12),
    NORM(LAYER "output.LayerNorm"),
    LINEAR("bert.pooler.dense", 8, 8), /* the network has no use for it */
    LINEAR("cls.predictions.transform.dense", 8, 8),
    NORM("cls.predictions.transform.LayerNorm"),
    {"cls.predictions.bias", 0, 19, false},
};

static char *join(const char *dir, const char *name) {
  char *path;
  if (asprintf(&path, "%s/%s", dir, name) < 0) abort();
  return path;
}

char *tiny_dir_new(void) {
  char *dir = strdup("/tmp/spindle-test.XXXXXX");
  if (!dir || !mkdtemp(dir)) abort();
  return dir;
}

static int remove_one(const char *path, const struct stat *st, int kind,
                      struct FTW *place) {
  (void)st, (void)kind, (void)place;
  return remove(path);
}

void tiny_dir_free(char *dir) {
  if (nftw(dir, remove_one, 8, FTW_DEPTH | FTW_PHYS)) abort();
  free(dir);
}

static FILE *create(const char *dir, const char *name) {
  char *path = join(dir, name);
  for (char *slash = path; (slash = strchr(slash + 1, '/'));) {
    *slash = '\0';
    mkdir(path, 0700); /* most are there */
    *slash = '/';
  }
  FILE *f = fopen(path, "wb");
  if (!f) abort();
  free(path);
  return f;
}

void tiny_put(const char *dir, const char *name, const char *text) {
  FILE *f = create(dir, name);
  if (fputs(text, f) < 0 || fclose(f)) abort();
}

static size_t n_elements(const tiny_tensor *t) {
  return (size_t)(t->rows ? t->rows : 1) * t->cols;
}

void tiny_tensors_put(const char *dir, const char *file, const tiny_tensor *t, size_t n) {
  char header[8192] = "{";
  size_t at = 1, offset = 0;
  for (size_t i = 0; i < n; i++) {
    char shape[40];
    snprintf(shape, sizeof shape, t[i].rows ? "%u,%u" : "%.0u%u", t[i].rows, t[i].cols);
    size_t end = offset + n_elements(&t[i]) * sizeof(float);
    at += (size_t)snprintf(header + at, sizeof header - at,
                           "%s\"%s\":{\"dtype\":\"F32\",\"shape\":[%s],"
                           "\"data_offsets\":[%zu,%zu]}",
                           i ? "," : "", t[i].name, shape, offset, end);
    if (at > sizeof header - 2) abort();
    offset = end;
  }
  header[at++] = '}';
  FILE *f = create(dir, file);
  uint64_t length = at;
  if (fwrite(&length, sizeof length, 1, f) != 1 || fwrite(header, at, 1, f) != 1) abort();
  uint32_t state = 12345;
  for (size_t i = 0; i < n; i++)
    for (size_t k = 0; k < n_elements(&t[i]); k++) {
      state = state * 1664525 + 1013904223;
      float x = t[i].ones ? 1 : (float)((double)(state >> 8) / (1 << 23) - 1);
      if (fwrite(&x, sizeof x, 1, f) != 1) abort();
    }
  if (fclose(f)) abort();
}

void tiny_bert_put(const char *dir) {
  tiny_bert_put_with(dir, NULL, 0);
}

void tiny_bert_put_with(const char *dir, const tiny_tensor *more, size_t n) {
  enum { N_BERT = sizeof BERT / sizeof *BERT };
  tiny_tensor all[N_BERT + 8];
  if (n > 8) abort();
  memcpy(all, BERT, sizeof BERT);
  if (n) memcpy(all + N_BERT, more, n * sizeof *more);
  tiny_put(dir, "config.json", CONFIG);
  tiny_put(dir, "vocab.txt", TINY_VOCAB_TXT);
  tiny_tensors_put(dir, "model.safetensors", all, N_BERT + n);
}

void tiny_adapter_put(const char *dir, const char *base, const char *more) {
  static const tiny_tensor PAIR[] = {
      {"base_model.model." LAYER "attention.self.query.lora_A.weight", 2, 8, false},
      {"base_model.model." LAYER "attention.self.query.lora_B.weight", 8, 2, false}};
  char config[2048];
  snprintf(config, sizeof config,
           "{\"peft_type\": \"LORA\", \"base_model_name_or_path\": \"%s\", \"r\": 2,"
           " \"lora_alpha\": 4, \"target_modules\": [\"query\"]%s%s}",
           base, *more ? ", " : "", more);
  tiny_put(dir, "adapter_config.json", config);
  tiny_tensors_put(dir, "adapter_model.safetensors", PAIR, 2);
}
