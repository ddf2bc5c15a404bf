"""Who may do what: nothing may be written by anybody, the rest is owner, group and mode.

Without ``default_permissions`` the kernel checks no mode bits at all (DESIGN §7). As long as only the
owner can see the mount that is enough; with ``allow_other`` the operations ask here. Three things keep the
kernel from answering others out of its own memory: names in a directory that is not everybody's get no
timeout, so each walk through it is a look-up with a caller; nor does the name of what is not everybody's, and
who may do nothing there does not even get there (else inotify would tell what others do in there: the kernel
asks nobody who may watch); and a file in there has a mode of its own. What is left is that attributes of a
number that is already known are told to whoever holds it.
"""

from __future__ import annotations

import os
import stat

import pyfuse3

from icloudfs.mount import askers
from icloudfs.mount.attributes import Attributes, is_directory
from icloudfs.tree.directory import Inode

ROOT_USER = 0

_SEARCHED_BY_ALL = stat.S_IXUSR | stat.S_IXGRP | stat.S_IXOTH
_READ_BY_ALL = stat.S_IRUSR | stat.S_IRGRP | stat.S_IROTH


class Access:
    """Answers for one mount. ``wanted`` is a mask of os.R_OK, os.W_OK and os.X_OK."""

    def __init__(self, attributes: Attributes) -> None:
        self._attributes = attributes
        self._ourselves = os.geteuid()

    def may(self, inode: Inode, wanted: int, caller: pyfuse3.RequestContext) -> bool:
        """Whether mode, owner and group let ``caller`` read or search. Writing is not judged here."""
        wanted &= os.R_OK | os.X_OK
        mode = self._attributes.mode(inode)
        if caller.uid == ROOT_USER:
            executable = is_directory(inode) or mode & 0o111
            return bool(executable) or not wanted & os.X_OK
        return wanted & ~self._granted(mode, caller) == 0

    def may_go_to(self, inode: Inode, caller: pyfuse3.RequestContext) -> bool:
        """Whether ``caller`` may do anything there at all."""
        return self.may(inode, os.R_OK, caller) or self.may(inode, os.X_OK, caller)

    def is_private(self, inode: Inode) -> bool:
        """Whether some users may not search that directory, or not read that file."""
        everybody = _SEARCHED_BY_ALL if is_directory(inode) else _READ_BY_ALL
        return self._attributes.mode(inode) & everybody != everybody

    def _granted(self, mode: int, caller: pyfuse3.RequestContext) -> int:
        """The three bits that count for ``caller``: the owner's, the group's or everybody's."""
        # Who runs us has the content anyway, whomever the files are said to belong to (``uid=``).
        if caller.uid in (self._attributes.uid, self._ourselves):
            return mode >> 6 & 0o7
        of_group, of_others = mode >> 3 & 0o7, mode & 0o7
        if of_group == of_others or not self._in_group(caller):
            return of_others
        return of_group

    def _in_group(self, caller: pyfuse3.RequestContext) -> bool:
        if caller.gid == self._attributes.gid:
            return True
        try:
            # Reads a file, hence only where the group decides. The pid is a thread's.
            return self._attributes.gid in askers.groups(caller.pid)
        except OSError:
            return False  # gone already, or in a PID namespace that we cannot see
