"""Every system call that would write, for a test to run as whoever it likes.

``python -c SWEEP TOP PHOTO OTHER FOLDER``: two files and a folder, by paths below ``TOP``, where ``new`` is
what would be made. Prints whatever was not refused with EROFS.
"""

SWEEP = """
import ctypes, errno, os, sys
top, photo, other, place = sys.argv[1:]
os.chdir(top)
libc = ctypes.CDLL(None, use_errno=True)
def call(name, *arguments):
    if getattr(libc, name)(*arguments) < 0:
        raise OSError(ctypes.get_errno(), name)
AT_FDCWD, NOREPLACE, EXCHANGE = -100, 1, 2
def renameat2(old, new, flags):
    call("renameat2", AT_FDCWD, os.fsencode(old), AT_FDCWD, os.fsencode(new), flags)
there = os.open(photo, os.O_RDONLY)
folder = os.open(place, os.O_RDONLY)
calls = {
    "open O_WRONLY": lambda: os.open(photo, os.O_WRONLY),
    "open O_RDWR": lambda: os.open(photo, os.O_RDWR),
    "open O_TRUNC": lambda: os.open(photo, os.O_RDONLY | os.O_TRUNC),
    "open O_APPEND": lambda: os.open(photo, os.O_WRONLY | os.O_APPEND),
    "creat": lambda: os.open("new", os.O_CREAT | os.O_WRONLY),
    "creat exclusive": lambda: os.open("new", os.O_CREAT | os.O_EXCL | os.O_RDWR),
    "creat read-only": lambda: os.open("new", os.O_CREAT | os.O_RDONLY),
    "truncate": lambda: os.truncate(photo, 0),
    "mknod": lambda: os.mknod("new"),
    "mkfifo": lambda: os.mkfifo("new"),
    "mkdir": lambda: os.mkdir("new"),
    "symlink": lambda: os.symlink(photo, "new"),
    "link": lambda: os.link(photo, "new"),
    "rename": lambda: os.rename(photo, "new"),
    "rename over": lambda: os.rename(photo, other),
    "rename folder": lambda: os.rename(place, "new"),
    "renameat2 noreplace": lambda: renameat2(photo, "new", NOREPLACE),
    "renameat2 exchange": lambda: renameat2(photo, other, EXCHANGE),
    "unlink": lambda: os.unlink(photo),
    "rmdir": lambda: os.rmdir(place),
    "chmod": lambda: os.chmod(photo, 0o644),
    "fchmod": lambda: os.fchmod(there, 0o644),
    "chown": lambda: os.chown(photo, os.getuid(), os.getgid()),
    "fchown": lambda: os.fchown(there, os.getuid(), os.getgid()),
    "utime": lambda: os.utime(photo),
    "utimensat": lambda: os.utime(photo, ns=(1, 1)),
    "futimens": lambda: os.utime(there, ns=(1, 1)),
    "chmod folder": lambda: os.chmod(".", 0o755),
    "setxattr": lambda: os.setxattr(photo, "user.mine", b"1"),
    "setxattr create": lambda: os.setxattr(photo, "user.mine", b"1", os.XATTR_CREATE),
    "fsetxattr": lambda: os.setxattr(there, "user.mine", b"1"),
    "removexattr": lambda: os.removexattr(photo, "user.icloudfs.asset"),
    "access W_OK": lambda: call("access", os.fsencode(photo), os.W_OK),
    "access W_OK folder": lambda: call("access", b".", os.W_OK),
    "access R_OK|W_OK": lambda: call("access", os.fsencode(photo), os.R_OK | os.W_OK),
}
for name, attempt in calls.items():
    try:
        attempt()
        print(name, "was done")
    except OSError as error:
        if error.errno != errno.EROFS:
            print(name, errno.errorcode[error.errno])
# Reading what is there, and syncing it, is no writing.
assert os.open(photo, os.O_RDONLY | os.O_CREAT) > 0
os.fsync(there), os.fdatasync(there), os.fsync(folder)
assert os.access(photo, os.R_OK) and os.access(place, os.R_OK | os.X_OK)
assert not os.access(photo, os.X_OK)
"""
