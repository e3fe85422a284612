/* encoder/model_parts.h - the steps of opening a model; private to the encoder/model_*.c.
 */
#ifndef SP_MODEL_PARTS_H
#define SP_MODEL_PARTS_H

#include "encoder/model.h"

/* What the modules say about the directory's layout (encoder/model_modules.c). All
 * strings are owned; released by sp_layout_free(). */
typedef struct sp_layout {
  char *transformer_dir; /* where config.json, the weights and the tokenizer lie */
  char *adapter_dir;     /* of the adapter put onto them, with a tokenizer if it has its
                            own; NULL: none */
  char *query_table_dir; /* the SparseStaticEmbedding's folder; NULL: none */
  char *dense_dir;       /* a projection's folder; NULL: none */
  bool has_pooling;      /* SpladePooling, or a plain directory: a decoder is needed */
  bool own_modules;      /* the opened directory has a modules.json */
} sp_layout;

/* Reads dir's modules.json (router_config.json, the modules' own config.json) where there
 * is one; fills m->log1p_times and the token mask of m->tokens. On SP_OK the caller
 * ends *out with sp_layout_free(). Errors: as sp_model_open(). */
sp_err sp_layout_read(sp_model *m, const char *dir, sp_layout *out);
void sp_layout_free(sp_layout *l);

/* Reads what happens to a text before the network: prompts, lengths, where the tokenizer
 * is (encoder/model_input.c); m->config is known. Errors: as sp_model_open(). */
sp_err sp_model_read_input(sp_model *m, const sp_layout *layout);

/* The model_max_length of dir's tokenizer_config.json; *out stays where it says none. */
sp_err sp_model_max_length(const char *dir, double *out);

/* Finds every weight of m->config's network in `t` by its family's names and checks its
 * shape. Errors: EFORMAT, ENOMEM. */
sp_err sp_model_bind(sp_model *m, const sp_tensors *t, bool need_decoder);

/* One matrix [rows, cols] (or a vector: rows 1) by name. Errors: EFORMAT. */
sp_err sp_matrix_bind(const sp_tensors *t, const char *name, uint32_t rows, uint32_t cols,
                      sp_matrix *out);

/* Opens the directory's weights into m->files. */
sp_err sp_model_add_file(sp_model *m, const char *dir, const char *file,
                         sp_tensors **out);

/* Puts the adapter in `dir` onto the opened base model. Errors: as sp_model_open(). */
sp_err sp_lora_apply(sp_model *m, const char *dir);

/* The directory of the adapter's base, malloc'ed, after checking adapter_config.json. */
sp_err sp_lora_base(const char *dir, char **base);

/* sp_json_load_beside() of a file of m->dir, else of m->base_dir. */
sp_err sp_model_load_json(const sp_model *m, const char *name, char **path, json_t **out);

#endif
