"""Files of a fake iCloud as the state database knows them, for what looks things up there."""

from __future__ import annotations

from collections.abc import Iterable

import apsw

from icloudfs.state.database import Database
from icloudfs.tree.directory import ROOT, File


def announce(database: Database, files: Iterable[tuple[File, str]], *, listed: bool = True) -> None:
    """Put ``files`` with their names into the catalogue and the tree."""

    def write(connection: apsw.Connection) -> None:
        for file, name in files:
            zone = _zone(connection, file, listed)
            _asset(connection, zone, file, name)
            connection.execute(
                "INSERT INTO dirent VALUES (?, ?, ?)", (ROOT, name.encode(), file.ino)
            )

    database.write_now(write)


def _zone(connection: apsw.Connection, file: File, listed: bool) -> int:
    connection.execute(
        "INSERT OR IGNORE INTO zone (area, name, owner, listed) VALUES (?, ?, ?, ?)",
        (file.zone.area, file.zone.name, file.zone.owner, listed),
    )
    row = connection.execute("SELECT id FROM zone WHERE name = ?", (file.zone.name,)).fetchone()
    assert row is not None
    return int(row[0])


def _asset(connection: apsw.Connection, zone: int, file: File, name: str) -> None:
    values: dict[str, int | str] = {
        str(column): "" if kind == "TEXT" else 0
        for column, kind in connection.execute(
            "SELECT name, type FROM pragma_table_info('asset') WHERE \"notnull\" AND NOT pk"
        )
    }
    values |= {"zone": zone, "name": file.asset, "master": file.master}
    values |= {"checksum": file.checksum, "filename": name}
    columns, marks = ", ".join(values), ", ".join("?" * len(values))
    connection.execute(
        f"INSERT OR IGNORE INTO asset ({columns}) VALUES ({marks})", tuple(values.values())
    )
    connection.execute(
        "INSERT INTO inode (ino, mode, size, mtime, ctime, nlink, asset, rendition, checksum)"
        " SELECT ?, 33060, ?, 0, 0, 1, id, ?, ? FROM asset WHERE zone = ? AND name = ?",
        (file.ino, file.size, file.rendition, file.checksum, zone, file.asset),
    )


def hide(database: Database, file: File) -> None:
    """No file of the mount shows the content any more."""
    database.write_now(
        lambda connection: (
            connection.execute("DELETE FROM inode WHERE ino = ?", (file.ino,)) and None
        )
    )
