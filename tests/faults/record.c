/* Loaded before libc (LD_PRELOAD): writes down everything that a process does to the files under FAULT_ROOT, or makes
 * its n-th write fail.
 *
 * FAULT_ROOT  the folder that is watched
 * FAULT_LOG   where to write the record: lines "OP inode offset length path [path]", data after lines with W
 * FAULT_FULL  the number of the write, from 1, from which on the disk is full (ENOSPC); 0 or unset: never
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

static const char *root, *logged;
static long full_from, writes;
static int log_file = -1;
static pthread_mutex_t guard = PTHREAD_MUTEX_INITIALIZER;
static ssize_t (*real_write)(int, const void *, size_t);

static void *next(const char *name) { return dlsym(RTLD_NEXT, name); }

__attribute__((constructor)) static void begin(void) {
    root = getenv("FAULT_ROOT");
    logged = getenv("FAULT_LOG");
    const char *full = getenv("FAULT_FULL");
    full_from = full ? atol(full) : 0;
    real_write = next("write");
    int (*real_open)(const char *, int, ...) = next("open");
    if (root && logged) log_file = real_open(logged, O_WRONLY | O_CREAT | O_APPEND, 0600);
}

static int watched(const char *path) {
    size_t n = root ? strlen(root) : 0;
    return n && path && strncmp(path, root, n) == 0 && path[n] == '/';
}

/* The absolute path of a name, as good as this needs it: the code under test uses absolute paths. */
static void absolute(int folder, const char *path, char *out, size_t size) {
    out[0] = 0;
    if (!path) return;
    if (path[0] == '/') { snprintf(out, size, "%s", path); return; }
    char link[64], base[3000] = "";
    if (folder == AT_FDCWD) { if (!getcwd(base, sizeof base)) return; }
    else {
        snprintf(link, sizeof link, "/proc/self/fd/%d", folder);
        ssize_t n = readlink(link, base, sizeof base - 1);
        if (n < 0) return;
        base[n] = 0;
    }
    snprintf(out, size, "%s/%s", base, path);
}

static int path_of(int fd, char *out, size_t size) {
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t n = readlink(link, out, size - 1);
    if (n < 0) return 0;
    out[n] = 0;
    return watched(out);
}

static void note(char op, unsigned long inode, long offset, long length, const char *one, const char *two, const void *data) {
    if (log_file < 0) return;
    char line[8300];
    int n = snprintf(line, sizeof line, "%c\t%lu\t%ld\t%ld\t%s\t%s\n", op, inode, offset, length, one, two);
    pthread_mutex_lock(&guard);
    if (real_write(log_file, line, n) != n) abort();
    if (data && real_write(log_file, data, length) != length) abort();
    pthread_mutex_unlock(&guard);
}

static unsigned long inode_of(int fd) {
    struct stat found;
    return fstat(fd, &found) ? 0 : found.st_ino;
}

/* Whether this write is to fail. Asked for every change that needs room. */
static int is_full(void) {
    if (!full_from) return 0;
    return __sync_add_and_fetch(&writes, 1) >= full_from;
}


static int existed(int folder, const char *path, int flags) {
    struct stat found;
    (void)flags;
    return fstatat(folder, path, &found, 0) == 0;
}

static int opened(int folder, const char *path, int flags, int fd, int was_there) {
    char full[4096];
    if (fd < 0) return fd;
    absolute(folder, path, full, sizeof full);
    if (!watched(full)) return fd;
    if ((flags & O_CREAT) && !was_there) note('C', inode_of(fd), 0, 0, full, "", NULL);
    if ((flags & O_TRUNC) && was_there) note('T', inode_of(fd), 0, 0, full, "", NULL);
    return fd;
}

int open(const char *path, int flags, ...) {
    static int (*real)(const char *, int, ...);
    if (!real) real = next("open");
    mode_t mode = 0;
    if (flags & (O_CREAT | O_TMPFILE)) { va_list a; va_start(a, flags); mode = va_arg(a, mode_t); va_end(a); }
    int was = existed(AT_FDCWD, path, flags);
    return opened(AT_FDCWD, path, flags, real(path, flags, mode), was);
}

int open64(const char *path, int flags, ...) {
    static int (*real)(const char *, int, ...);
    if (!real) real = next("open64");
    mode_t mode = 0;
    if (flags & (O_CREAT | O_TMPFILE)) { va_list a; va_start(a, flags); mode = va_arg(a, mode_t); va_end(a); }
    int was = existed(AT_FDCWD, path, flags);
    return opened(AT_FDCWD, path, flags, real(path, flags, mode), was);
}

int openat(int folder, const char *path, int flags, ...) {
    static int (*real)(int, const char *, int, ...);
    if (!real) real = next("openat");
    mode_t mode = 0;
    if (flags & (O_CREAT | O_TMPFILE)) { va_list a; va_start(a, flags); mode = va_arg(a, mode_t); va_end(a); }
    int was = existed(folder, path, flags);
    return opened(folder, path, flags, real(folder, path, flags, mode), was);
}

int openat64(int folder, const char *path, int flags, ...) {
    static int (*real)(int, const char *, int, ...);
    if (!real) real = next("openat64");
    mode_t mode = 0;
    if (flags & (O_CREAT | O_TMPFILE)) { va_list a; va_start(a, flags); mode = va_arg(a, mode_t); va_end(a); }
    int was = existed(folder, path, flags);
    return opened(folder, path, flags, real(folder, path, flags, mode), was);
}

static ssize_t written(int fd, const void *data, ssize_t done, long offset) {
    char full[4096];
    if (done > 0 && path_of(fd, full, sizeof full)) note('W', inode_of(fd), offset, done, full, "", data);
    return done;
}

static int refused(int fd) {
    char full[4096];
    if (!full_from || !path_of(fd, full, sizeof full) || !is_full()) return 0;
    errno = ENOSPC;
    return 1;
}

ssize_t write(int fd, const void *data, size_t size) {
    if (!real_write) real_write = next("write");
    if (!root) return real_write(fd, data, size);
    int saved = errno;
    off_t at = (fcntl(fd, F_GETFL) & O_APPEND) ? lseek(fd, 0, SEEK_END) : lseek(fd, 0, SEEK_CUR);
    errno = saved;
    if (refused(fd)) return -1;
    return written(fd, data, real_write(fd, data, size), at);
}

ssize_t writev(int fd, const struct iovec *parts, int count) {
    if (!root) return ((ssize_t (*)(int, const struct iovec *, int))next("writev"))(fd, parts, count);
    ssize_t all = 0;
    for (int i = 0; i < count; i++) {
        ssize_t done = write(fd, parts[i].iov_base, parts[i].iov_len);
        if (done < 0) return all ? all : done;
        all += done;
        if ((size_t)done < parts[i].iov_len) break;
    }
    return all;
}

#define PWRITE(name)                                                                        \
    ssize_t name(int fd, const void *data, size_t size, off_t at) {                         \
        static ssize_t (*real)(int, const void *, size_t, off_t);                           \
        if (!real) real = next(#name);                                                      \
        if (root && refused(fd)) return -1;                                                 \
        return written(fd, data, real(fd, data, size, at), at);                             \
    }
PWRITE(pwrite)
PWRITE(pwrite64)

#define TRUNCATE(name)                                                                      \
    int name(int fd, off_t size) {                                                          \
        static int (*real)(int, off_t);                                                     \
        char full[4096];                                                                    \
        if (!real) real = next(#name);                                                      \
        int done = real(fd, size);                                                          \
        if (!done && path_of(fd, full, sizeof full)) note('T', inode_of(fd), size, 0, full, "", NULL); \
        return done;                                                                        \
    }
TRUNCATE(ftruncate)
TRUNCATE(ftruncate64)

#define SYNC(name)                                                                          \
    int name(int fd) {                                                                      \
        static int (*real)(int);                                                            \
        char full[4096];                                                                    \
        if (!real) real = next(#name);                                                      \
        int done = real(fd);                                                                \
        if (!done) { full[0] = 0; if (path_of(fd, full, sizeof full) || (root && !strcmp(full, root))) note('S', inode_of(fd), 0, 0, full, "", NULL); } \
        return done;                                                                        \
    }
SYNC(fsync)
SYNC(fdatasync)

static int moved(char op, int done, int from, const char *one, int to, const char *two) {
    char a[4096], b[4096];
    if (done) return done;
    absolute(from, one, a, sizeof a);
    absolute(to, two, b, sizeof b);
    if (watched(a) || watched(b)) note(op, 0, 0, 0, a, b, NULL);
    return done;
}

int rename(const char *one, const char *two) {
    int (*real)(const char *, const char *) = next("rename");
    return moved('R', real(one, two), AT_FDCWD, one, AT_FDCWD, two);
}
int renameat(int a, const char *one, int b, const char *two) {
    int (*real)(int, const char *, int, const char *) = next("renameat");
    return moved('R', real(a, one, b, two), a, one, b, two);
}
int link(const char *one, const char *two) {
    int (*real)(const char *, const char *) = next("link");
    return moved('L', real(one, two), AT_FDCWD, one, AT_FDCWD, two);
}
int linkat(int a, const char *one, int b, const char *two, int flags) {
    int (*real)(int, const char *, int, const char *, int) = next("linkat");
    return moved('L', real(a, one, b, two, flags), a, one, b, two);
}
int unlink(const char *path) {
    int (*real)(const char *) = next("unlink");
    return moved('U', real(path), AT_FDCWD, path, AT_FDCWD, "");
}
int unlinkat(int folder, const char *path, int flags) {
    int (*real)(int, const char *, int) = next("unlinkat");
    return moved('U', real(folder, path, flags), folder, path, AT_FDCWD, "");
}
int rmdir(const char *path) {
    int (*real)(const char *) = next("rmdir");
    return moved('U', real(path), AT_FDCWD, path, AT_FDCWD, "");
}
int mkdir(const char *path, mode_t mode) {
    int (*real)(const char *, mode_t) = next("mkdir");
    return moved('D', real(path, mode), AT_FDCWD, path, AT_FDCWD, "");
}
int mkdirat(int folder, const char *path, mode_t mode) {
    int (*real)(int, const char *, mode_t) = next("mkdirat");
    return moved('D', real(folder, path, mode), folder, path, AT_FDCWD, "");
}
/* A copy within the kernel would not be seen: who asks for one is told to write. */
ssize_t copy_file_range(int a, off_t *x, int b, off_t *y, size_t n, unsigned f) {
    (void)a; (void)x; (void)b; (void)y; (void)n; (void)f;
    errno = ENOSYS;
    return -1;
}
ssize_t sendfile(int a, int b, off_t *x, size_t n) { (void)a; (void)b; (void)x; (void)n; errno = ENOSYS; return -1; }
ssize_t sendfile64(int a, int b, off_t *x, size_t n) { (void)a; (void)b; (void)x; (void)n; errno = ENOSYS; return -1; }
