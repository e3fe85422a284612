/* server/listen.h - "HOST:PORT" becomes a listening socket. */
#ifndef SP_LISTEN_H
#define SP_LISTEN_H

#include "base/err.h"

enum { SP_ADDRESS_BYTES = 80 };

/* `listen` is "HOST:PORT" or "[IPV6]:PORT"; port 0 takes any free one. *fd is the caller's;
 * `address` gets the numeric address with the port that was taken.
 * Errors: EINVAL (not such an address), EIO (in use, not permitted). */
sp_err sp_listen(const char *listen, int *fd, char address[SP_ADDRESS_BYTES]);

#endif
