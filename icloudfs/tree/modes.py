"""Type and permission bits of what is in the tree, before the umask of a mount.

The owner may write, as far as these bits go, though nothing can be written: ``cp -r`` gives its copies the bits
of what it copied, and a copy that could be neither changed nor removed is of no use (DESIGN §7). That every
write is refused is said where it is asked for, with EROFS (mount/read_only.py).
"""

from __future__ import annotations

import stat

FILE = stat.S_IFREG | 0o644
DIRECTORY = stat.S_IFDIR | 0o755

PRIVATE_FILE = stat.S_IFREG | 0o600
"""In Hidden and Recently Deleted, and below."""
PRIVATE_DIRECTORY = stat.S_IFDIR | 0o700
