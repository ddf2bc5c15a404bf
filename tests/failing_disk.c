/* Loaded into a daemon (LD_PRELOAD), makes its calls on files below one directory fail: the one in
   FAILING_DISK, with the errno and for the calls that the file FAILING_DISK_ORDERS names, as long as it is not
   empty: "5 pwrite64 fdatasync". With -1 for an errno they wait until it is. For tests alone. */

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

static int ordered(const char *call)
{
    const char *orders = getenv("FAILING_DISK_ORDERS");
    char text[256];
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
    while ((word = strtok_r(NULL, " \n", &rest)))
        if (!strcmp(word, call))
            return number;
    return 0;
}

static int below(const char *path)
{
    const char *directory = getenv("FAILING_DISK");
    return directory && !strncmp(path, directory, strlen(directory));
}

static int is_below(int fd)
{
    char link[64], path[4096];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t size = readlink(link, path, sizeof path - 1);
    path[size < 0 ? 0 : size] = 0;
    return below(path);
}

static int fails(const char *call, int fd)
{
    int before = errno, number = ordered(call);
    if (number < 0 && !is_below(fd))
        number = 0;
    while (number < 0) {
        usleep(10000);
        number = ordered(call);
    }
    if (number && is_below(fd)) {
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
