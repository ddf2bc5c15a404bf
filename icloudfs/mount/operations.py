"""Every request of the kernel, answered.

``lookup``, ``getattr`` and ``readdir`` are one indexed query each; the first and the last cannot wait,
because a slow look-up blocks its whole directory (facts/fuse.md §1.2). Only ``read``, one attribute, ``statfs``
now and then, and what a file manager asks before thumbnails lie (previews.py) wait for anything. Whatever would
write is refused (read_only.py), but for changes that are replayed (replay.py).
"""

# ruff: noqa: ARG002 — each handler has the signature that pyfuse3 calls, whatever it needs of it
from __future__ import annotations

import errno
import itertools
import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import NamedTuple

import msgspec
import pyfuse3
import trio
from pyfuse3 import (
    EntryAttributes,
    FileHandleT,
    FileInfo,
    FileNameT,
    FlagT,
    FUSEError,
    InodeT,
    ModeT,
    ReaddirToken,
    RequestContext,
    SetattrFields,
    StatvfsData,
    XAttrNameT,
)

from icloudfs.cache.echo import PREFIX as ECHO
from icloudfs.errors import ContentError, IcloudfsError
from icloudfs.mount.access import Access
from icloudfs.mount.attributes import TIMEOUT, Attributes, is_directory, missing_entry
from icloudfs.mount.contents import Contents, OpenFile
from icloudfs.mount.desktop import Desktop, NoDesktop
from icloudfs.mount.endings import Endings
from icloudfs.mount.guard import guarded
from icloudfs.mount.previews import Previews
from icloudfs.mount.read_only import ReadOnly
from icloudfs.mount.replay import Stage, gone
from icloudfs.mount.settings import MountSettings
from icloudfs.mount.special import SpecialFile, SpecialFiles
from icloudfs.mount.volume import NAME_MAX, Volume
from icloudfs.mount.xattrs import THUMBNAIL, USER, Xattrs
from icloudfs.tree import modes
from icloudfs.tree.directory import ROOT, Directory, Inode
from icloudfs.tree.growth import Growth
from icloudfs.tree.numbers import FIRST_DIRECTORY

PAGE = 256
"""Entries of a directory a query; 196 fit the 32 KiB that glibc asks for (facts/fuse.md §1.2)."""

_WRITING = os.O_WRONLY | os.O_RDWR | os.O_TRUNC | os.O_APPEND
_EMPTY_ROOT = Inode(ROOT, modes.DIRECTORY, 4096, 0, 0, 2)
"""The root before the first page of the library has come: there is no row for it yet."""

_DOT_CURSOR = 1
_DOTDOT_CURSOR = 2
"""Cursors behind ``.`` and ``..``. All others are inode numbers, which begin at 2^32."""


FETCHED_AT_OPEN = 10.0
"""Seconds that ``open`` may wait for a photo, where what is not whole is read directly: it could not be mapped
(limits.py). The program cannot end meanwhile. What takes longer goes on, and is read as it comes."""


async def _have(handle: OpenFile) -> None:
    """Have a photo whole, if it can be had in time. Else it opens all the same, and ``read`` says why."""
    with trio.move_on_after(FETCHED_AT_OPEN), suppress(IcloudfsError):
        await handle.until_verified()


def _nobody_listens(name: bytes) -> None:
    """No file of this machine is used where it lies."""


class _Handle(NamedTuple):
    """An open file."""

    inode: Inode
    """As it was when it was opened."""
    checksum: str | None
    """Of the content that is read; None for a special file."""
    content: OpenFile


class Operations(ReadOnly):
    """The handlers of one mount. They run on the event loop, one at a time between awaits."""

    supports_dot_lookup = True  # for NFS, which comes back with numbers instead of paths

    def __init__(
        self,
        settings: MountSettings,
        directory: Directory,
        growth: Growth,
        contents: Contents,
        xattrs: Xattrs,
        volume: Volume,
        desktop: Desktop | None = None,
        heard: Callable[[bytes], None] = _nobody_listens,
    ) -> None:
        """``heard`` is told which names beginning with ``ECHO`` are looked for, in any directory."""
        super().__init__()
        self._heard = heard
        self.settings = settings
        self.direct_until_whole = False
        """Whether reads of files that are not whole bypass the page cache (limits.py)."""
        self._directory = directory
        self._contents = contents
        self._xattrs = xattrs
        self._volume = volume
        self._desktop = desktop or NoDesktop()
        self._previews = Previews(self._desktop)
        self._endings = Endings(growth)
        self._owner = os.getuid()
        self._special = SpecialFiles(settings)
        self.stage = Stage()
        self._attributes = Attributes(settings, self.stage.generations)
        self._access = Access(self._attributes)
        self._missing = missing_entry()
        self._handles: dict[FileHandleT, _Handle] = {}
        self._numbers = itertools.count(1)

    # -- names and attributes ----------------------------------------------------------------------

    @guarded
    def lookup(self, parent_inode: InodeT, name: FileNameT, ctx: RequestContext) -> EntryAttributes:
        if self.stage.is_actor(ctx):
            return self._lookup_before(parent_inode, name)
        if name.startswith(ECHO):
            self._heard(name)
        timeout = TIMEOUT
        if self.settings.allow_other:
            self._require(parent_inode, os.X_OK, ctx)
            timeout = self._entry_timeout(parent_inode)
        inode = self._named(parent_inode, name)
        if inode is not None:
            if self.settings.allow_other and self._access.is_private(inode):
                timeout = 0.0
                if not self._access.may_go_to(inode, ctx):
                    raise FUSEError(errno.EACCES)
            if is_directory(inode):
                self.stage.known.add(inode.ino)
            return self._told(inode, timeout)
        self._missing_in(parent_inode, name)
        if timeout == 0:
            raise FUSEError(errno.ENOENT)
        return self._missing

    def _missing_in(self, parent: int, name: bytes) -> None:
        """Say why there is no such name where it is not that there is none."""
        if len(name) > NAME_MAX:
            raise FUSEError(errno.ENAMETOOLONG)
        self._inode(parent)  # that of a directory that is gone is stale: it is not empty

    def _named(self, parent: int, name: bytes) -> Inode | None:
        # First: who serves this mount must be known, also when the state cannot be read.
        special = self._special.named(name) if parent == ROOT else None
        if special is not None:
            return special.inode
        inode = self._directory.lookup(parent, name)
        if inode is not None:
            return inode
        if name == b".":
            return self._inode(parent)
        if name == b"..":
            return self._inode(self._above(parent))
        return None

    def _above(self, ino: int) -> int:
        return self._directory.parent(ino) or ROOT

    @guarded
    async def getattr(self, inode: InodeT, ctx: RequestContext) -> EntryAttributes:
        if self.stage.is_actor(ctx):
            return self._shown_before(inode)
        if inode in self._previews.expected and ctx.uid == self._owner and not self._is_open(inode):
            await self._previews.before_stat(inode, ctx.pid)
        return self._told(self._inode(inode))

    def _told(self, inode: Inode, timeout: float = TIMEOUT) -> EntryAttributes:
        """The attributes of an inode, to be asked for again if that may have to wait (previews.py)."""
        entry = self._attributes.of(inode, timeout)
        if inode.ino in self._previews.expected:
            entry.attr_timeout = 0.0
        return entry

    def _is_open(self, ino: int) -> bool:
        return any(handle.inode.ino == ino for handle in self._handles.values())

    def _inode(self, ino: int) -> Inode:
        """The inode of that number. ESTALE if it is gone: the kernel then looks its name up again."""
        special = self._special.numbered(ino)
        if special is not None:
            return special.inode
        inode = self._directory.getattr(ino)
        if inode is not None:
            return inode
        orphan = next((h.inode for h in self._handles.values() if h.inode.ino == ino), None)
        if orphan is not None:
            # Gone from the library while somebody has it open: it lives until it is closed.
            return msgspec.structs.replace(orphan, nlink=0)
        if ino == ROOT:
            return _EMPTY_ROOT
        raise FUSEError(errno.ESTALE)

    async def forget(self, inode_list: Sequence[tuple[InodeT, int]]) -> None:
        """Inode numbers are for ever; there is nothing to count."""

    # -- directories -------------------------------------------------------------------------------

    @guarded
    async def opendir(self, inode: InodeT, ctx: RequestContext) -> FileHandleT:
        """The handle is the inode number, but for a listing that expects thumbnails or an end."""
        if self.settings.allow_other:
            self._require(inode, os.R_OK, ctx)
        handle: FileHandleT = inode
        if ctx.uid == self._owner:
            self._desktop.opened(inode)
            handle = await self._previews.open(inode, ctx.pid)
        return self._endings.open(inode, handle, ctx.pid)

    @guarded
    def readdir(self, fh: FileHandleT, start_id: int, token: ReaddirToken) -> None:
        """Fill one reply with entries behind cursor ``start_id``, attributes and all.

        The cursor is the inode number, unique in a directory: whatever comes or goes between two
        replies, nothing is told twice and nothing that stays is left out. A reply without an entry ends the
        listing, or says that it may not be all (endings.py).
        """
        if start_id == 0:
            self._endings.begin(fh)
        handle = self._endings.beneath(fh)
        expecting = self._previews.listing(handle)
        folder = handle if expecting is None else expecting
        self._inode(folder)  # one that went meanwhile is stale, and not at its end
        if start_id < _DOTDOT_CURSOR and not self._reply_dots(folder, start_id, token):
            return
        told = self._reply_entries(folder, expecting is not None, start_id, token)
        if not told and start_id >= _DOTDOT_CURSOR and self._endings.are_open(fh):
            raise FUSEError(errno.EAGAIN)

    def _reply_entries(
        self, folder: int, expecting: bool, start_id: int, token: ReaddirToken
    ) -> bool:
        """As many as fit; whether there was one."""
        timeout, shared = TIMEOUT, self.settings.allow_other
        if shared:
            timeout = self._entry_timeout(folder)
        expected = expecting or self._previews.expected
        attributes = self._told if expected else self._attributes.of
        reply, known = pyfuse3.readdir_reply, self.stage.known
        told = False
        for name, inode in self._directory.page(folder, start_id, PAGE):
            if inode.ino >= FIRST_DIRECTORY:
                known.add(inode.ino)
            elif expecting:
                self._previews.expect(inode.ino)
            told = True
            lasts = 0.0 if shared and self._access.is_private(inode) else timeout
            if not reply(token, name, attributes(inode, lasts), inode.ino):
                break
        return told

    def _reply_dots(self, ino: int, start_id: int, token: ReaddirToken) -> bool:
        """``.`` and ``..``, which the kernel neither invents nor looks up. False: the reply is full."""
        dots = ((b".", _DOT_CURSOR, ino), (b"..", _DOTDOT_CURSOR, self._above(ino)))
        return all(
            pyfuse3.readdir_reply(token, name, self._attributes.of(self._inode(number)), cursor)
            for name, cursor, number in dots
            if cursor > start_id
        )

    @guarded
    def releasedir(self, fh: FileHandleT) -> None:
        self._previews.close(self._endings.close(fh))

    # -- files -------------------------------------------------------------------------------------

    @guarded
    async def open(self, inode: InodeT, flags: FlagT, ctx: RequestContext) -> FileInfo:
        if flags & _WRITING:
            self.stage.accept(ctx, "open", inode)
            return self._open_for_nothing(inode)
        if self.settings.allow_other:
            self._require(inode, os.R_OK, ctx)
        special = self._special.numbered(inode)
        # Before the content: if they differ, the handle is refused rather than believed.
        checksum = None if special is not None else self._directory.checksum(inode)
        handle = special or self._open(inode)
        try:
            await handle.until_opened()
        except BaseException:
            handle.close()
            raise
        if not handle.verified and ctx.uid == self._owner and await self._previews.refuses(ctx.pid):
            handle.close()
            raise FUSEError(errno.ENODATA)
        try:
            if self.direct_until_whole and not handle.verified:
                await _have(handle)
            opened = _Handle(self._inode(inode), checksum, handle)
        except BaseException:
            handle.close()
            raise
        number = next(self._numbers)
        self._handles[number] = opened
        # Pages that somebody was shown before the content was verified may be wrong, and the kernel may
        # not have heard of it yet: whoever opens it now begins without them.
        direct = self.direct_until_whole and not handle.verified
        return FileInfo(fh=number, keep_cache=handle.verified, direct_io=direct)

    def _open(self, ino: int) -> OpenFile:
        file = self._directory.file(ino)
        if file is not None:
            return self._contents.open(file)
        raise FUSEError(errno.ESTALE)

    @guarded
    async def read(self, fh: FileHandleT, off: int, size: int) -> bytes:
        """Inline when the bytes are at hand: a thread for each read is four times slower
        (facts/fuse.md §0.9).

        ESTALE once the file has another content: the kernel keeps one set of pages a file, and what an
        old handle read would be shown to those who open the new content. And once it is gone, of what is not
        here: iCloud does not have it any more.
        """
        opened = self._handles[fh]
        ino = opened.inode.ino
        is_special = self._special.numbered(ino) is not None
        if not is_special and self._directory.checksum(ino) not in (opened.checksum, None):
            raise FUSEError(errno.ESTALE)
        data = opened.content.read_now(off, size)
        if data is None:
            try:
                data = await opened.content.read(off, size)
            except ContentError as error:
                if not is_special and self._directory.checksum(ino) is None:
                    raise FUSEError(errno.ESTALE) from error
                raise
        return data

    @guarded
    def release(self, fh: FileHandleT) -> None:
        self._handles.pop(fh).content.close()

    # -- changes that are replayed ---------------------------------------------------------------------

    @guarded
    def mknod(
        self, parent_inode: InodeT, name: FileNameT, mode: ModeT, rdev: int, ctx: RequestContext
    ) -> EntryAttributes:
        self.stage.accept(ctx, "mknod", parent_inode, name)
        return self._entry(parent_inode, name)

    @guarded
    def mkdir(
        self, parent_inode: InodeT, name: FileNameT, mode: ModeT, ctx: RequestContext
    ) -> EntryAttributes:
        self.stage.accept(ctx, "mkdir", parent_inode, name)
        entry = self._entry(parent_inode, name)
        self.stage.known.add(entry.st_ino)
        return entry

    @guarded
    def unlink(self, parent_inode: InodeT, name: FileNameT, ctx: RequestContext) -> None:
        self.stage.accept(ctx, "unlink", parent_inode, name)

    @guarded
    def rmdir(self, parent_inode: InodeT, name: FileNameT, ctx: RequestContext) -> None:
        self.stage.accept(ctx, "rmdir", parent_inode, name)

    @guarded
    def rename(
        self,
        parent_inode_old: InodeT,
        name_old: FileNameT,
        parent_inode_new: InodeT,
        name_new: FileNameT,
        flags: FlagT,
        ctx: RequestContext,
    ) -> None:
        there = parent_inode_new, name_new
        self.stage.accept(ctx, "rename", parent_inode_old, name_old, *there, flags)

    @guarded
    def setattr(
        self,
        inode: InodeT,
        attr: EntryAttributes,
        fields: SetattrFields,
        fh: FileHandleT | None,
        ctx: RequestContext,
    ) -> EntryAttributes:
        """Whatever is to be set, the answer is what the database says."""
        self.stage.accept(ctx, "setattr", inode)
        return self._attributes.of(self._inode(inode))

    def _entry(self, parent: int, name: bytes) -> EntryAttributes:
        inode = self._directory.lookup(parent, name)
        if inode is None:
            raise FUSEError(errno.ENOENT)  # gone again since
        if not self.settings.allow_other:
            return self._attributes.of(inode)
        lasts = 0.0 if self._access.is_private(inode) else self._entry_timeout(parent)
        return self._attributes.of(inode, lasts)

    def _open_for_nothing(self, ino: int) -> FileInfo:
        """For a write that writes nothing, and makes the kernel drop the pages."""
        inode = self._inode(ino)
        number = next(self._numbers)
        self._handles[number] = _Handle(inode, None, SpecialFile(ino, b""))
        return FileInfo(fh=number, keep_cache=False)

    def _lookup_before(self, parent: int, name: bytes) -> EntryAttributes:
        """A name as the process sees it that replays changes. It may look everywhere."""
        if self.stage.is_before_its_turn(parent, name):
            ino = self.stage.before(parent, name)
            if ino is None:
                raise FUSEError(errno.ENOENT)
            return self._shown_before(ino)
        return self._entry(parent, name)

    def _shown_before(self, ino: int) -> EntryAttributes:
        """To be asked for again by whoever comes next: it is only true until the step is done."""
        try:
            inode = self.stage.links_before(self._inode(ino))
        except FUSEError:
            inode = gone(ino)
        entry = self._attributes.of(inode, 0.0)
        entry.attr_timeout = 0.0
        return entry

    # -- the volume, permissions, xattrs -----------------------------------------------------------

    @guarded
    async def statfs(self, ctx: RequestContext) -> StatvfsData:
        return (await self._volume.figures()).as_statvfs()

    @guarded
    def access(self, inode: InodeT, mode: ModeT, ctx: RequestContext) -> bool:
        """EROFS to whoever asks for writing: a file manager must not offer to paste."""
        found = self._inode(inode)
        if mode & os.W_OK:
            raise FUSEError(errno.EROFS)
        return self._access.may(found, mode, ctx)

    @guarded
    async def getxattr(self, inode: InodeT, name: XAttrNameT, ctx: RequestContext) -> bytes:
        if not self.settings.xattrs:
            raise FUSEError(errno.ENOSYS)
        if not name.startswith(USER):
            # Of no file here: after one such answer `ls -l` asks for ACLs and labels no more, where
            # ENODATA has it ask twice a file.
            raise FUSEError(errno.EOPNOTSUPP)
        if self.settings.allow_other:
            self._require(inode, os.R_OK, ctx)
        if name == THUMBNAIL:
            value = await self._thumbnail(inode)
        else:
            value = self._xattrs.get(inode, name)
        if value is None:
            self._inode(inode)
            raise FUSEError(errno.ENODATA)
        return value

    async def _thumbnail(self, ino: int) -> bytes | None:
        file = self._directory.file(ino)
        return None if file is None else await self._desktop.thumbnail(file)

    @guarded
    def listxattr(self, inode: InodeT, ctx: RequestContext) -> Sequence[XAttrNameT]:
        if not self.settings.xattrs:
            raise FUSEError(errno.ENOSYS)
        if self.settings.allow_other:
            self._require(inode, os.R_OK, ctx)
        names = self._xattrs.names(inode)
        if not names:
            self._inode(inode)
        return names

    def _require(self, ino: int, wanted: int, ctx: RequestContext) -> None:
        if not self._access.may(self._inode(ino), wanted, ctx):
            raise FUSEError(errno.EACCES)

    def _entry_timeout(self, directory: int) -> float:
        """None at all in a directory that is not everybody's (access.py)."""
        return 0.0 if self._access.is_private(self._inode(directory)) else TIMEOUT
