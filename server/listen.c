/* server/listen.c - resolving, binding, listening. */
#include "server/listen.h"

#include <errno.h>
#include <netdb.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { BACKLOG = 511 };

/* Splits "host:port" at the last colon and takes the brackets off an IPv6 address. */
static sp_err split(const char *listen, char host[256], char port[8]) {
  const char *colon = strrchr(listen, ':');
  size_t n = colon ? (size_t)(colon - listen) : 0;
  bool bracketed = n >= 2 && listen[0] == '[' && listen[n - 1] == ']';
  bool bare = n > 0 && !memchr(listen, ':', n) && listen[0] != '[';
  char *end;
  unsigned long number = colon && colon[1] >= '0' && colon[1] <= '9'
                             ? strtoul(colon + 1, &end, 10)
                             : (end = "x", 0);
  if ((!bracketed && !bare) || n >= 256 || *end || number > 65535)
    return sp_fail(SP_EINVAL, "'%s' is not HOST:PORT or [IPV6]:PORT", listen);
  snprintf(host, 256, "%.*s", (int)(bracketed ? n - 2 : n), listen + bracketed);
  snprintf(port, 8, "%lu", number);
  return SP_OK;
}

static int open_socket(const struct addrinfo *a) {
  int fd = socket(a->ai_family, a->ai_socktype | SOCK_CLOEXEC | SOCK_NONBLOCK, 0),
      yes = 1;
  if (fd < 0) return -1;
  /* A server that was just stopped must be able to start again at once. */
  if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes) == 0 &&
      bind(fd, a->ai_addr, a->ai_addrlen) == 0 && listen(fd, BACKLOG) == 0)
    return fd;
  int kept = errno;
  close(fd);
  errno = kept;
  return -1;
}

static sp_err tell_address(int fd, char address[SP_ADDRESS_BYTES]) {
  struct sockaddr_storage bound;
  socklen_t n = sizeof bound;
  char host[64], port[8];
  if (getsockname(fd, (struct sockaddr *)&bound, &n) != 0)
    return sp_fail_errno(errno, "the address of the socket");
  int bad = getnameinfo((struct sockaddr *)&bound, n, host, sizeof host, port,
                        sizeof port, NI_NUMERICHOST | NI_NUMERICSERV);
  if (bad) return sp_fail(SP_EIO, "the address of the socket: %s", gai_strerror(bad));
  snprintf(address, SP_ADDRESS_BYTES, strchr(host, ':') ? "[%s]:%s" : "%s:%s", host,
           port);
  return SP_OK;
}

sp_err sp_listen(const char *listen, int *fd, char address[SP_ADDRESS_BYTES]) {
  char host[256], port[8];
  *fd = -1;
  sp_err err = split(listen, host, port);
  if (err) return err;
  struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE}, *found;
  int bad = getaddrinfo(host, port, &hints, &found);
  if (bad) return sp_fail(SP_EINVAL, "%s: %s", listen, gai_strerror(bad));
  for (struct addrinfo *a = found; a && *fd < 0; a = a->ai_next) *fd = open_socket(a);
  int kept = errno;
  freeaddrinfo(found);
  if (*fd < 0) return sp_fail_errno(kept, "%s", listen);
  err = tell_address(*fd, address);
  if (err) {
    close(*fd);
    *fd = -1;
  }
  return err;
}
