"""How SQLite goes about every statement of the program, in a database of 100,000 photos.

What grows with the library is a scan or a sort of it. On the event loop that is the time for which the whole
mount stands still, and at 20,000 photos it is too short to be seen. So each one is found by its plan, with the
statistics that ANALYZE gathers and without, and has a reason in ``ALLOWED`` or is a failure.
"""

from __future__ import annotations

import ast
import importlib
import pkgutil
import re
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import apsw
import apsw.ext
import pytest

import icloudfs
from icloudfs.cache.urls import NEARBY
from icloudfs.desktop import seeds
from icloudfs.simulator import LibraryPlan
from icloudfs.state import completeness, database
from icloudfs.sync import mirror
from icloudfs.sync.mirror import _Choice
from icloudfs.tree.directory import Directory
from tests.sync.account import lab

PHOTOS = 100_000
FIRST_INO = 1 << 32
_LAST = FIRST_INO + PHOTOS - 200

_VERBS = ("SELECT ", "INSERT ", "UPDATE ", "DELETE ", "REPLACE ", "WITH ")


class Statement(NamedTuple):
    """One statement of the program, as it is sent."""

    where: str
    """Module and function, or module and constant."""
    sql: str


def _modules() -> Iterator[ModuleType]:
    for found in pkgutil.walk_packages(icloudfs.__path__, "icloudfs."):
        if not found.name.startswith("icloudfs.simulator") and "__main__" not in found.name:
            yield importlib.import_module(found.name)


class _Finder(ast.NodeVisitor):
    """Evaluates every text that begins like SQL, where it is written."""

    def __init__(self, module: ModuleType) -> None:
        self.module = module
        self.found: list[Statement] = []
        self.unknown: list[str] = []
        self._function = ""

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
        self._function, outer = node.name, self._function
        self.generic_visit(node)
        self._function = outer

    def visit_AsyncFunctionDef(self, node: ast.AsyncFunctionDef) -> None:
        self._function, outer = node.name, self._function
        self.generic_visit(node)
        self._function = outer

    def visit_Assign(self, node: ast.Assign) -> None:
        if isinstance(node.targets[0], ast.Name) and not self._function:
            self._function = node.targets[0].id
            self.generic_visit(node)
            self._function = ""
        else:
            self.generic_visit(node)

    def generic_visit(self, node: ast.AST) -> None:
        if isinstance(node, ast.Constant | ast.JoinedStr | ast.BinOp) and _looks_like_sql(node):
            self._evaluate(node)
        else:
            super().generic_visit(node)

    def visit_Constant(self, node: ast.Constant) -> None:
        self.generic_visit(node)

    def _evaluate(self, node: ast.expr) -> None:
        where = f"{self.module.__name__.removeprefix('icloudfs.')}.{self._function}"
        code = compile(ast.Expression(node), where, "eval")
        for values in LOCALS.get(where, [{}]):
            try:
                sql = eval(code, dict(vars(self.module)) | values)
            except NameError as error:
                self.unknown.append(f"{where}: {error}")
            else:
                self.found.append(Statement(where, sql))


def _looks_like_sql(node: ast.expr) -> bool:
    match node:
        case ast.Constant(str(text)):
            return text.lstrip().startswith(_VERBS)
        case ast.JoinedStr([first, *_]):
            return _looks_like_sql(first) or (
                isinstance(first, ast.FormattedValue) and ast.unparse(first.value) in FRAGMENTS
            )
        case ast.BinOp(left):
            return _looks_like_sql(left)
        case _:
            return False


def statements() -> list[Statement]:
    """Every one; fails for what cannot be evaluated from its module alone and is not in ``LOCALS``."""
    found: list[Statement] = []
    unknown: list[str] = []
    for module in _modules():
        assert module.__file__ is not None
        finder = _Finder(module)
        finder.visit(ast.parse(Path(module.__file__).read_text()))
        found += finder.found
        unknown += finder.unknown
    assert not unknown, f"What these are made of belongs into LOCALS: {unknown}"
    return [each for each in found if each.where.rpartition(".")[2] not in FRAGMENTS]


FRAGMENTS = ("_FILE", "_NEIGHBOURS", "_NEED", "_NEXT")
"""What others are made of, or formatted from: no statements by themselves."""

_WHOLE = _Choice("1", counted="inode i INDEXED BY inode_by_checksum")
_CHOICES = [
    _WHOLE,
    _Choice("a.favorite", (), mirror._OF_PHOTOS, mirror._OF_PHOTOS),
    _Choice("a.taken > ?", (), mirror._OF_PHOTOS, mirror._OF_PHOTOS),
    _Choice("i.ino IN (SELECT ino FROM dirent WHERE parent IN (?, ?))"),
]
FORMATTED = [
    *(
        Statement("sync.mirror.need", mirror._NEED.format(files=c.counted, condition=c.condition))
        for c in _CHOICES
    ),
    *(
        Statement("sync.mirror._page", mirror._NEXT.format(files=c.files, condition=c.condition))
        for c in _CHOICES
    ),
]

_KINDS = ("relation", "asset", "master", "album")
LOCALS: dict[str, list[dict[str, Any]]] = {
    "state.catalogue._names": [{"kind": "asset"}, {"kind": "album"}],
    "state.catalogue.note_seen": [
        {"kind": "relation", "of": "asset = ? AND album = ?"},
        *({"kind": kind, "of": "name = ?"} for kind in _KINDS[1:]),
    ],
    "state.catalogue.unseen": [
        {"kind": "relation", "name": "asset || '-IN-' || album"},
        *({"kind": kind, "name": "name"} for kind in _KINDS[1:]),
    ],
    "state.completeness._asked": [
        {"question": completeness._INCOMPLETE},
        {"question": completeness._UNHEARD_OF},
        {"question": f"EXISTS (SELECT 1 FROM refused_part WHERE {completeness.ALBUM_PARTS})"},
    ],
    "state.refusals.ask_at_once": [{"which": ""}, {"which": " WHERE NOT harmless"}],
}
"""What statements are made of that their functions choose: every way."""


# -- the database ------------------------------------------------------------------------------------

_FILL = f"""
PRAGMA synchronous = OFF;
PRAGMA foreign_keys = OFF;
BEGIN;
CREATE TEMP TABLE n (n INTEGER PRIMARY KEY);
INSERT INTO n WITH RECURSIVE c (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c WHERE n < {PHOTOS})
  SELECT n FROM c;
INSERT INTO zone (id, area, name, listed) VALUES (1, 'private', 'PrimarySync', 1), (2, 'shared', 'S', 1);
INSERT INTO master (zone, name, filename, uti, resources, width, height, modified, listing)
  SELECT 1 + (n % 9 = 0), 'M' || n, 'IMG_' || n % 9999, 'public.heic', '{{}}', 1, 1, n, 1 FROM n;
INSERT INTO inode (ino, mode, size, mtime, ctime, nlink, asset, rendition, checksum)
  SELECT (1 << 32) + n, 33188, 1000 + n % 50000, n, n, 2, n, 'original', 'A' || n FROM n;
INSERT INTO inode (ino, mode, size, mtime, ctime, nlink, asset, rendition, checksum)
  SELECT (1 << 40) + n, 33188, 1000 + n % 50000, n, n, 1, n, 'live', 'V' || n FROM n WHERE n % 3 = 0;
INSERT INTO inode SELECT (1 << 62) + n, 16877, 0, 0, 0, 2, NULL, NULL, NULL FROM n WHERE n <= 600;
INSERT INTO dirent SELECT (1 << 62) + asset / 400, CAST('F' || ino AS BLOB), ino FROM inode WHERE asset;
INSERT INTO dirent SELECT (1 << 62) + 300 + asset % 200, CAST('F' || ino AS BLOB), ino FROM inode
  WHERE asset AND ino < (1 << 40);
INSERT INTO dirent SELECT 1, CAST('D' || ino AS BLOB), ino FROM inode WHERE asset IS NULL;
INSERT INTO relation (zone, asset, album, created, listing)
  SELECT 1, 'P' || n, 'L' || n % 200, n, 1 FROM n;
INSERT INTO claim SELECT (1 << 62) + n / 400, 'img_' || n, n FROM n;
INSERT INTO content (checksum, size, status, path, accessed)
  SELECT 'A' || n, 1000, iif(n % 40, 'downloaded', 'partial'), 'content/' || n, n FROM n WHERE n % 2;
INSERT INTO hashed_file SELECT CAST('/photos/' || n AS BLOB), n, CAST(n AS BLOB), n FROM n;
INSERT INTO sync_runs (started_at) SELECT n FROM n WHERE n <= 2000;
INSERT INTO metadata (key, value) SELECT 'k' || n, n FROM n WHERE n <= 30;
INSERT INTO owed (zone, name, reason) SELECT 1, 'O' || n, '' FROM n WHERE n <= 200;
INSERT INTO listed_page (zone, list, start_rank) SELECT 1, 'all', n * 200 FROM n WHERE n <= 500;
INSERT INTO contest SELECT (1 << 62) + n / 400, 'img_' || n, n FROM n WHERE n <= 5000;
"""


def _fill(connection: apsw.Connection) -> None:
    """Photos, their files and places, half of them cached, as a library of that size has them."""
    connection.execute(_FILL)
    for table, many in (("asset", PHOTOS), ("album", 200)):
        _fill_rest(connection, table, many)
    connection.execute("COMMIT")


def _fill_rest(connection: apsw.Connection, table: str, many: int) -> None:
    made = {
        "id": "n",
        "zone": "1 + (n % 9 = 0)" if table == "asset" else "1",
        "name": "'P' || n" if table == "asset" else "'L' || n",
        "master": "'M' || n",
        "checksum": "'A' || n",
        "added": "n",
        "taken": "n * 60000",
        "favorite": "n % 20 = 0",
        "hidden": "n % 500 = 0",
    }
    columns = [
        (str(name), made.get(str(name), "''" if kind == "TEXT" else "0"))
        for name, kind in connection.execute(f"SELECT name, type FROM pragma_table_info('{table}')")
    ]
    connection.execute(
        f"INSERT INTO {table} ({', '.join(name for name, _ in columns)})"
        f" SELECT {', '.join(value for _, value in columns)} FROM n WHERE n <= {many}"
    )


@pytest.fixture(scope="module", params=["analysed", "without statistics"])
def library(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[apsw.Connection]:
    path = tmp_path_factory.mktemp("large") / "me.db"
    connection = database.create(path)
    connection.execute(seeds._SCHEMA)
    _fill(connection)
    if request.param == "analysed":
        connection.execute("ANALYZE")
    yield connection
    connection.close()


def costs(connection: apsw.Connection, sql: str) -> list[str]:
    """The steps of a plan whose cost may grow with the library: scans and sorts."""
    marks = (None,) * apsw.ext.query_info(connection, sql).bindings_count
    plan = connection.execute("EXPLAIN QUERY PLAN " + sql, marks).fetchall()
    steps = [str(detail) for *_, detail in plan]
    return [step for step in steps if _COSTLY.match(step) and not _FEW.match(step)]


_COSTLY = re.compile(r"SCAN |USE TEMP B-TREE")
_FEW = re.compile(r"SCAN (zone|az|z|refused_part|mounted_on|CONSTANT ROW)\b|SCAN \w+ VIRTUAL TABLE")
"""Libraries, of which an account has few, and what they were refused; what the caller itself has named."""

BOUNDED = {
    "desktop.seeds._make_room": "the first few of an index",
    "mount.xattrs._ALBUMS": "the albums of one photo, sorted",
    "state.catalogue.zones": "the few libraries, sorted",
    "state.catalogue.without_master": "names that the caller gives, a page of them",
    "state.catalogue.still_wanted": "names that the caller gives, a page of them",
    "state.summary._RUNS": "the last few, by their number",
    "state.summary._zones": "the few libraries, sorted",
    "tree.directory.newest": "four times as many as are wanted, from an index",
    "tree.placing._PHOTOS": "the photos of one page",
    "tree.settling._RIVALS": "who wants the names that the caller gives",
    "tree.settling.settle": "the first few of the table",
}
"""Scans and sorts whose cost does not grow with the library, and why."""

IN_A_THREAD = {
    "cache.orphans.has_row": "verify: a file of an odd name, of which there is none",
    "desktop.seeds._count": "10,000 rows, when the seeder's thread begins",
    "mount.kernel._refresh": "everything that the kernel may know, told anew",
    "mount.volume._ask_state": "df, once a minute",
    "state.catalogue.counts": "the end of a listing, in its transaction",
    "state.catalogue.has_foreign_members": "once a listing, read aside",
    "state.catalogue.owed_count": "in the transaction that ends a run, and in status",
    "state.catalogue.unseen": "the end of a listing, in its transaction",
    "state.contents.cached_bytes": "once, when the cache begins",
    "state.summary._counts": "status: a process of its own",
    "state.summary._photos": "status, and the line for systemd, read aside",
    "state.summary.list_status": "status: a process of its own",
    "sync.mirror._page": "a mirror, read aside page by page",
    "sync.mirror.need": "a mirror, read aside once a sync",
    "tree.directory._photos_in": "list: a process of its own",
    "tree.directory.albums": "list: a process of its own",
    "tree.settling.contests": "once, when names are settled, read aside",
    "tree.settling.no_longer_recent": "what leaves Recent, read aside once a sync",
}
"""Those whose cost does, and who waits for them: never the event loop."""


def test_no_statement_walks_through_the_library(library: apsw.Connection) -> None:
    found = [*statements(), *FORMATTED]
    assert len(found) > 150
    costly = {each.where: cost for each in found if (cost := costs(library, each.sql))}

    unexpected = costly.keys() - BOUNDED.keys() - IN_A_THREAD.keys()
    assert not {where: costly[where] for where in unexpected}


def test_what_is_near_a_photo_is_found_in_the_same_time_in_any_library(
    library: apsw.Connection,
) -> None:
    """Also with the statistics, or the lack of them, that made SQLite begin with every file before it."""
    directory = Directory(library)

    first, last = _steps(library, directory, FIRST_INO + 200), _steps(library, directory, _LAST)

    assert first < 20_000
    assert last < 20_000


def _steps(connection: apsw.Connection, directory: Directory, ino: int) -> int:
    """Of SQLite's machine, to find what is near a file."""
    counted = 0

    def count() -> bool:
        nonlocal counted
        counted += 100
        return False

    connection.set_progress_handler(count, 100)
    try:
        assert len(directory.nearby(ino, NEARBY)) >= NEARBY
    finally:
        connection.set_progress_handler(None)
    return counted


async def test_a_sync_asks_the_event_loops_connection_for_none_of_these(tmp_path: Path) -> None:
    costly = {each.sql for each in [*statements(), *FORMATTED] if each.where in IN_A_THREAD}
    asked: list[str] = []

    def note(_: object, sql: str, __: object) -> bool:
        asked.append(sql)
        return True

    async with lab(tmp_path, LibraryPlan(assets=40, seed=3, drawn=False)) as account:
        client = account.client()
        client.reader.exec_trace = note
        await client.syncing.run()
        account.phone.add_photo()
        await client.syncing.run()
        client.reader.exec_trace = None

    assert asked
    assert not costly.intersection(asked)
