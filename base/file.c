/* base/file.c - mapping, reading and replacing whole files. */
#include "base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buf.h"

/* `failed` is the errno of the call that filled *st, or 0. */
static sp_err need_regular(const char *path, int failed, const struct stat *st) {
  if (!failed && S_ISDIR(st->st_mode)) failed = EISDIR;
  if (failed) return sp_fail_errno(failed, "%s", path);
  if (S_ISREG(st->st_mode)) return SP_OK;
  return sp_fail(SP_EIO, "%s: it is a pipe or a device, not a regular file", path);
}

sp_err sp_path_need_file(const char *path) {
  struct stat st;
  return need_regular(path, stat(path, &st) ? errno : 0, &st);
}

/* Opens a regular file for reading and tells its size. What it is may change in between, so
 * it is asked twice, and the opening does not wait. */
static sp_err open_regular(const char *path, int *fd, size_t *n) {
  sp_err err = sp_path_need_file(path);
  if (err) return err;
  *fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (*fd < 0) return sp_fail_errno(errno, "%s", path);
  struct stat st;
  err = need_regular(path, fstat(*fd, &st) ? errno : 0, &st);
  if (err)
    close(*fd);
  else
    *n = (size_t)st.st_size;
  return err;
}

sp_err sp_map_open(const char *path, sp_map *out) {
  *out = (sp_map){0};
  int fd;
  size_t n;
  sp_err err = open_regular(path, &fd, &n);
  if (err) return err;
  if (n) {
    void *data = mmap(NULL, n, PROT_READ, MAP_PRIVATE, fd, 0);
    if (data == MAP_FAILED)
      err = sp_fail_errno(errno, "%s: cannot map %zu bytes", path, n);
    else
      *out = (sp_map){data, n};
  }
  close(fd);
  return err;
}

void sp_map_close(sp_map *m) {
  if (m->data) munmap((void *)(uintptr_t)m->data, m->n);
  *m = (sp_map){0};
}

void sp_map_forget(const sp_map *m) {
  if (m->data) madvise((void *)(uintptr_t)m->data, m->n, MADV_DONTNEED);
}

sp_err sp_stream_read(FILE *f, const char *name, size_t max, char **out, size_t *n) {
  *out = NULL;
  *n = 0;
  sp_buf all = {.max = max};
  struct stat st; /* of a file all at once; a pipe has no size */
  size_t room =
      fstat(fileno(f), &st) == 0 && S_ISREG(st.st_mode) ? (size_t)st.st_size : 0;
  sp_err err = room > max ? sp_fail(SP_EINVAL, "%s: %zu bytes, at most %zu are read",
                                    name, room, max)
                          : sp_buf_reserve(&all, room);
  char piece[1 << 14];
  while (!err) {
    size_t got = fread(piece, 1, sizeof piece, f);
    if (got == 0) break;
    if (got > max - all.n)
      err = sp_fail(SP_EINVAL, "%s: at most %zu bytes are read", name, max);
    else
      err = sp_buf_append(&all, piece, got);
  }
  if (!err && ferror(f)) err = sp_fail_errno(errno, "%s", name);
  if (!err) err = sp_buf_append(&all, "", 0); /* the NUL */
  if (err) {
    sp_buf_free(&all);
    return err;
  }
  *out = all.data;
  *n = all.n;
  return SP_OK;
}

sp_err sp_file_read(const char *path, size_t max, char **out, size_t *n) {
  *out = NULL;
  *n = 0;
  int fd;
  size_t size;
  sp_err err = open_regular(path, &fd, &size);
  if (err) return err;
  FILE *f = fdopen(fd, "rb");
  if (!f) {
    err = sp_fail_errno(errno, "%s", path);
    close(fd);
    return err;
  }
  err = sp_stream_read(f, path, max, out, n);
  fclose(f);
  return err;
}

/* Files are published here and by the builder of indexes: their names must survive a loss
 * of power as what they name does. */
sp_err sp_dir_sync(const char *path) {
  int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) return errno == EACCES ? SP_OK : sp_fail_errno(errno, "%s", path);
  int failed = fsync(fd) ? errno : 0;
  close(fd);
  if (!failed || failed == EINVAL) return SP_OK; /* the file system has no such thing */
  return sp_fail_errno(failed, "%s: cannot write the directory", path);
}

static sp_err sync_parent(const char *path) {
  const char *slash = strrchr(path, '/');
  if (!slash) return sp_dir_sync(".");
  char *dir = strndup(path, slash == path ? 1 : (size_t)(slash - path));
  if (!dir) return sp_fail(SP_ENOMEM, "%s: out of memory", path);
  sp_err err = sp_dir_sync(dir);
  free(dir);
  return err;
}

/* out->path becomes what is written: links are followed, and the file they lead to is
 * replaced. out->tmp stays NULL for pipes and devices: renaming over one would take it away
 * from everybody else. */
static sp_err name_files(const char *path, sp_out *out) {
  struct stat st;
  const bool there = stat(path, &st) == 0, regular = !there || S_ISREG(st.st_mode);
  if (there && S_ISDIR(st.st_mode)) return sp_fail_errno(EISDIR, "%s", path);
  out->path = there && regular ? realpath(path, NULL) : strdup(path);
  if (!out->path) return sp_fail_errno(errno, "%s", path);
  if (regular && asprintf(&out->tmp, "%s.tmp-%ld", out->path, (long)getpid()) < 0) {
    out->tmp = NULL;
    return sp_fail(SP_ENOMEM, "%s: out of memory", path);
  }
  return SP_OK;
}

sp_err sp_out_open(const char *path, sp_out *out) {
  *out = (sp_out){0};
  if (strcmp(path, "-") == 0) {
    out->f = stdout;
    return SP_OK;
  }
  sp_err err = name_files(path, out);
  if (!err) {
    out->f = fopen(out->tmp ? out->tmp : out->path, "wbe");
    if (!out->f) err = sp_fail_errno(errno, "%s: cannot write", path);
  }
  if (err) sp_out_abort(out);
  return err;
}

sp_err sp_out_commit(sp_out *out) {
  const char *name = out->path ? out->path : "standard output";
  int failed = fflush(out->f) ? errno : ferror(out->f) ? EIO : 0;
  if (!out->path) {
    out->f = NULL;
    return failed ? sp_fail_errno(failed, "%s: cannot write", name) : SP_OK;
  }
  if (!failed && out->tmp && fsync(fileno(out->f))) failed = errno;
  if (fclose(out->f) && !failed) failed = errno;
  out->f = NULL;
  if (!failed && out->tmp && rename(out->tmp, out->path)) failed = errno;
  sp_err err = failed ? sp_fail_errno(failed, "%s: cannot write", name) : SP_OK;
  if (!failed && out->tmp) {
    free(out->tmp);
    out->tmp = NULL; /* nothing to remove */
    err = sync_parent(out->path);
  }
  sp_out_abort(out);
  return err;
}

void sp_out_abort(sp_out *out) {
  if (out->f && out->f != stdout) fclose(out->f);
  if (out->tmp) unlink(out->tmp);
  free(out->tmp);
  free(out->path);
  *out = (sp_out){0};
}

char *sp_path_join(const char *dir, const char *name) {
  char *path;
  size_t n = strlen(dir);
  const char *slash = n && dir[n - 1] != '/' ? "/" : "";
  if (asprintf(&path, "%s%s%s", dir, slash, name) < 0) {
    sp_fail(SP_ENOMEM, "%s: out of memory", dir);
    return NULL;
  }
  return path;
}

bool sp_path_exists(const char *path) {
  return access(path, F_OK) == 0;
}

char *sp_path_if_exists(const char *dir, const char *name, sp_err *err) {
  char *path = sp_path_join(dir, name);
  if (!path) {
    *err = SP_ENOMEM;
  } else if (!sp_path_exists(path)) {
    free(path);
    path = NULL;
  }
  return path;
}

bool sp_path_is_dir(const char *path) {
  struct stat st;
  return stat(path, &st) == 0 && S_ISDIR(st.st_mode);
}
