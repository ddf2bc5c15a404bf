"""What a mount is told: whose library, shown to whom, with which permissions."""

from __future__ import annotations

import msgspec


class MountSettings(msgspec.Struct, frozen=True):
    """The mount options. ``uid`` and ``gid`` own every file; ``umask`` takes permission bits away."""

    account: str
    uid: int
    gid: int
    umask: int = 0
    allow_other: bool = False
    """Other users may look in, as far as owner, group and mode let them."""
    allow_root: bool = False
    """Only root may, besides the owner."""
    labels: tuple[str, ...] = ()
    """Options of SELinux's, for the kernel: ``context=…`` and its kin (config.py)."""
    xattrs: bool = True
    """False: ``noxattr``; ``ls -l`` is an order of magnitude faster without (facts/fuse.md §0.6)."""

    @property
    def source(self) -> str:
        """The first column of ``df``: a colon in it makes ``df -l`` leave the mount out."""
        # The options are ASCII, separated by commas and escaped by backslashes.
        shown = "".join(
            c if c.isascii() and (c.isalnum() or c in "@._+-") else "_" for c in self.account
        )
        return f"icloudfs:{shown}"

    def options(self) -> set[str]:
        """The options for libfuse.

        Neither ``ro``: changes are replayed through the mount (live.py), and the kernel would refuse that.
        Nor ``default_permissions`` (DESIGN §7): the modes are those of copies (tree/modes.py), by which the
        owner may write. The kernel would tell so whoever asks by ``access``, and the others EACCES for EROFS.
        """
        options = {f"fsname={self.source}", "subtype=icloudfs", "nosuid", "nodev"}
        if self.allow_other:
            options.add("allow_other")
        elif self.allow_root:
            options.add("allow_root")
        # libfuse takes a comma for the end of an option, if there is no backslash before it.
        options.update(label.replace(",", "\\,") for label in self.labels)
        return options
