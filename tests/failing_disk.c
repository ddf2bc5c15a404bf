/* Loaded into a daemon (LD_PRELOAD), makes its calls on files below one directory fail, as long as the file that
   FAILING_DISK names is not empty: "5 /home/cache pwrite64 fdatasync" gives the errno, the directory and the
   calls. With -1 for an errno they wait until it is empty. For tests alone. */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

/* What is ordered for a call, and below which directory; 0 if nothing is. */
static int ordered(const char *call, char *directory, size_t room)
{
    const char *orders = getenv("FAILING_DISK");
    char text[512];
    if (!orders)
        return 0;
    int fd = syscall(SYS_openat, AT_FDCWD, orders, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return 0;
    ssize_t size = syscall(SYS_read, fd, text, sizeof text - 1);
    syscall(SYS_close, fd);
    if (size <= 0)
        return 0;
    text[size] = 0;
    char *rest, *word = strtok_r(text, " \n", &rest);
    int number = word ? atoi(word) : 0;
    snprintf(directory, room, "%s", (word = strtok_r(NULL, " \n", &rest)) ? word : "/nowhere");
    while ((word = strtok_r(NULL, " \n", &rest)))
        if (!strcmp(word, call))
            return number;
    return 0;
}

static int is_below(int fd, const char *directory)
{
    char link[64], path[4096];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t size = readlink(link, path, sizeof path - 1);
    path[size < 0 ? 0 : size] = 0;
    return !strncmp(path, directory, strlen(directory));
}

static int fails(const char *call, int fd)
{
    char directory[256];
    int before = errno, number;
    while ((number = ordered(call, directory, sizeof directory)) < 0 && is_below(fd, directory))
        usleep(10000);
    if (number > 0 && is_below(fd, directory)) {
        errno = number;
        return 1;
    }
    errno = before;
    return 0;
}

#define CALL(type, name, parameters, arguments)                                 \
    type name parameters                                                        \
    {                                                                           \
        static type(*real) parameters;                                          \
        if (!real)                                                              \
            real = (type(*) parameters)dlsym(RTLD_NEXT, #name);                 \
        return fails(#name, fd) ? -1 : real arguments;                          \
    }

CALL(ssize_t, pwrite, (int fd, const void *b, size_t n, off_t at), (fd, b, n, at))
CALL(ssize_t, pwrite64, (int fd, const void *b, size_t n, off64_t at), (fd, b, n, at))
CALL(ssize_t, pread64, (int fd, void *b, size_t n, off64_t at), (fd, b, n, at))
CALL(ssize_t, preadv2, (int fd, const struct iovec *b, int n, off_t at, int how), (fd, b, n, at, how))
CALL(ssize_t, preadv64v2, (int fd, const struct iovec *b, int n, off64_t at, int how), (fd, b, n, at, how))
CALL(int, fdatasync, (int fd), (fd))
CALL(int, fsync, (int fd), (fd))
