"""The tables, and how a database gets from one version to the next.

The schema is the documentation: what each column means stands above its table. Times are milliseconds
since the epoch unless a column says otherwise; sizes are bytes; booleans are 0 and 1.

Three floors, filled by three different hands:

* what iCloud says (zone, master, asset, album, relation): written by ``sync`` alone, one page of
  records in one transaction with the token that follows it;
* where things appear (inode, dirent, claim, contest): derived from the first floor by ``tree``, in the same
  transaction;
* what is on this disk (content): written by ``cache`` alone, keyed by Apple's checksum, so that
  duplicates, albums and zones share one copy and a changed photo can never count as cached.
"""

from __future__ import annotations

from collections.abc import Callable

import apsw

VERSION = 8

_VERSION_1 = """
-- What does not fit anywhere else. 'sync_token:{zone name}' is the token that follows the last page of
-- changes of a zone; 'listing_token:{zone name}' the token of the first page of a listing under way;
-- 'database_token:{area}' that of the last complete look at what changed;
-- 'cache_directory' where content lies; 'config_hash' what the tree was built for.
CREATE TABLE metadata (
    key   TEXT NOT NULL PRIMARY KEY,
    value TEXT NOT NULL
) STRICT, WITHOUT ROWID;

-- A photo library. area is the database it lives in, 'private' or 'shared'.
-- listed: 0 until a listing was complete once; names are provisional until then (tree/claims.py).
-- listing: the number of the listing under way or last done. Every record carries the number of the
-- listing that saw it last, so a repeated listing knows at its end what is gone.
-- relisting: 1 while a listing of a zone that was listed before is under way.
-- members_due: 1 when albums may hold photos that we do not know to be in them (sync/members.py).
CREATE TABLE zone (
    id        INTEGER PRIMARY KEY,
    area      TEXT NOT NULL,
    name      TEXT NOT NULL,
    owner     TEXT NOT NULL DEFAULT '',
    listed    INTEGER NOT NULL DEFAULT 0,
    listing   INTEGER NOT NULL DEFAULT 1,
    relisting INTEGER NOT NULL DEFAULT 0,
    members_due INTEGER NOT NULL DEFAULT 0,
    UNIQUE (area, name)
) STRICT;

-- The pages of a listing that are already in the database, so that an interrupted one goes on.
CREATE TABLE listed_page (
    zone       INTEGER NOT NULL REFERENCES zone ON DELETE CASCADE,
    list       TEXT NOT NULL,      -- name of the index, or 'album:' and a record name
    start_rank INTEGER NOT NULL,
    PRIMARY KEY (zone, list, start_rank)
) STRICT, WITHOUT ROWID;

-- CPLMaster: the file as it was taken. resources is a JSON object, wire prefix to
-- [checksum, size, uti]; download URLs expire and are never stored.
CREATE TABLE master (
    zone      INTEGER NOT NULL REFERENCES zone ON DELETE CASCADE,
    name      TEXT NOT NULL,
    filename  TEXT NOT NULL,
    uti       TEXT NOT NULL,
    resources TEXT NOT NULL,
    width     INTEGER NOT NULL,   -- pixels, before the orientation is applied; 0 if not told
    height    INTEGER NOT NULL,
    modified  INTEGER NOT NULL,
    listing   INTEGER NOT NULL,
    PRIMARY KEY (zone, name)
) STRICT, WITHOUT ROWID;

-- CPLAsset: a photo in a library; (zone, name) is its identity. It may come before its master, and
-- several may point at one.
-- checksum: Apple's fileChecksum of the original, as announced, '' while the master is unknown.
-- filename: as shown for the original in the mount, without any suffix, '' while unknown.
-- month: inode of the month's directory. All three are the tree's.
CREATE TABLE asset (
    id           INTEGER PRIMARY KEY,
    zone         INTEGER NOT NULL REFERENCES zone ON DELETE CASCADE,
    name         TEXT NOT NULL,
    master       TEXT NOT NULL,
    taken        INTEGER,
    added        INTEGER,
    zone_offset  INTEGER NOT NULL,  -- seconds east of UTC where it was taken
    time_zone    TEXT NOT NULL,
    favorite     INTEGER NOT NULL,
    hidden       INTEGER NOT NULL,
    deleted      INTEGER NOT NULL,  -- in Recently Deleted
    expunged     INTEGER NOT NULL,
    subtype      INTEGER NOT NULL,
    subtype_v2   INTEGER NOT NULL,
    burst        TEXT NOT NULL,
    burst_flags  INTEGER NOT NULL,
    adjustment   TEXT NOT NULL,
    render_type  INTEGER NOT NULL,
    width        INTEGER NOT NULL,
    height       INTEGER NOT NULL,
    duration     REAL NOT NULL,     -- seconds
    caption      TEXT NOT NULL,
    description  TEXT NOT NULL,
    keywords     TEXT NOT NULL,     -- JSON array
    latitude     REAL,
    longitude    REAL,
    altitude     REAL,              -- metres
    resources    TEXT NOT NULL,     -- JSON, like the master's
    created      INTEGER NOT NULL,
    modified     INTEGER NOT NULL,
    listing      INTEGER NOT NULL,
    checksum     TEXT NOT NULL DEFAULT '',
    filename     TEXT NOT NULL DEFAULT '',
    month        INTEGER NOT NULL DEFAULT 0,
    UNIQUE (zone, name)
) STRICT;
CREATE INDEX asset_by_master ON asset (zone, master);
CREATE INDEX asset_by_checksum ON asset (checksum);
CREATE INDEX asset_by_added ON asset (added);

-- CPLAlbum. kind: 0 album, 3 folder. dirname: the name its directory was given, '' until it has one.
CREATE TABLE album (
    zone     INTEGER NOT NULL REFERENCES zone ON DELETE CASCADE,
    name     TEXT NOT NULL,
    title    TEXT NOT NULL,
    kind     INTEGER NOT NULL,
    parent   TEXT NOT NULL,
    position INTEGER NOT NULL,
    deleted  INTEGER NOT NULL,
    created  INTEGER NOT NULL,
    modified INTEGER NOT NULL,
    listing  INTEGER NOT NULL,
    dirname  TEXT NOT NULL DEFAULT '',
    PRIMARY KEY (zone, name)
) STRICT, WITHOUT ROWID;
CREATE INDEX album_by_parent ON album (zone, parent);

-- CPLContainerRelation: the asset is in the album. Either may still be unknown. created decides who
-- keeps a plain name in an album.
CREATE TABLE relation (
    zone    INTEGER NOT NULL REFERENCES zone ON DELETE CASCADE,
    asset   TEXT NOT NULL,
    album   TEXT NOT NULL,
    created INTEGER NOT NULL,
    listing INTEGER NOT NULL,
    PRIMARY KEY (zone, asset, album)
) STRICT, WITHOUT ROWID;
CREATE INDEX relation_by_album ON relation (zone, album);

-- Records that CloudKit refused to give one by one. They are looked up again with every sync.
CREATE TABLE owed (
    zone   INTEGER NOT NULL REFERENCES zone ON DELETE CASCADE,
    name   TEXT NOT NULL,
    reason TEXT NOT NULL,
    PRIMARY KEY (zone, name)
) STRICT, WITHOUT ROWID;

-- Every file and directory of the mount. Numbers are derived from iCloud's names (tree/numbers.py), so
-- a rebuilt database gives the same ones. mtime and ctime: whole seconds since the epoch.
-- nlink of a file: in how many directories it appears. Directories have no asset.
CREATE TABLE inode (
    ino       INTEGER PRIMARY KEY,
    mode      INTEGER NOT NULL,
    size      INTEGER NOT NULL,
    mtime     INTEGER NOT NULL,
    ctime     INTEGER NOT NULL,
    nlink     INTEGER NOT NULL,
    asset     INTEGER,
    rendition TEXT,
    checksum  TEXT
) STRICT;
CREATE INDEX inode_by_asset ON inode (asset) WHERE asset IS NOT NULL;
CREATE INDEX inode_by_checksum ON inode (checksum) WHERE checksum IS NOT NULL;

-- Directory entries; an inode has as many as it has places. The cursor of readdir is the inode number.
CREATE TABLE dirent (
    parent INTEGER NOT NULL,
    name   BLOB NOT NULL,
    ino    INTEGER NOT NULL,
    PRIMARY KEY (parent, name)
) STRICT, WITHOUT ROWID;
CREATE UNIQUE INDEX dirent_page ON dirent (parent, ino);
CREATE INDEX dirent_by_ino ON dirent (ino);

-- Who may use a name (tree/claims.py). scope: the inode of a month, an album or a folder, or 0 for the
-- whole library; key: the name folded (NFC, no case). owner: an asset's id, or the inode of an album.
CREATE TABLE claim (
    scope INTEGER NOT NULL,
    key   TEXT NOT NULL,
    owner INTEGER NOT NULL,
    PRIMARY KEY (scope, key)
) STRICT, WITHOUT ROWID;
CREATE INDEX claim_by_owner ON claim (owner);

-- Plain names that photos of a first listing wanted and did not all get: decided anew at its end
-- (tree/settling.py). Empty at all other times.
CREATE TABLE contest (
    scope INTEGER NOT NULL,
    key   TEXT NOT NULL,
    asset INTEGER NOT NULL,
    PRIMARY KEY (scope, key, asset)
) STRICT, WITHOUT ROWID;

-- What is on this disk, by Apple's checksum; no row means nothing is.
-- status: 'partial' (some ranges are there), 'downloaded' (whole, and verified as far as it can be),
--   'failed' (nothing usable is there, last_error says why).
-- path: below the cache directory, or absolute for an imported file, which is used where it lies.
-- sha256: of the whole content, hex, computed in the pass that checked Apple's checksum.
-- verified: 1 if checked against Apple's checksum, 0 if that checksum's type cannot be checked, or if it was
--   taken for the content by its name and size alone.
-- ranges: JSON [[start, stop], …], ascending, what of a partial content is on disk.
-- identity: of a file that its owner may still write to (used where it lies, or hard-linked into the cache),
--   when it was hashed, 'size:mtime_ns:inode'; if it differs, it is no longer it. Else ''.
-- accessed: seconds since the epoch.
CREATE TABLE content (
    checksum      TEXT NOT NULL PRIMARY KEY,
    size          INTEGER NOT NULL,
    status        TEXT NOT NULL CHECK (status IN ('partial', 'downloaded', 'failed')),
    path          TEXT NOT NULL,
    identity      TEXT NOT NULL DEFAULT '',
    sha256        TEXT NOT NULL DEFAULT '',
    verified      INTEGER NOT NULL DEFAULT 0,
    ranges        TEXT NOT NULL DEFAULT '[]',
    attempts      INTEGER NOT NULL DEFAULT 0,
    last_error    TEXT,
    downloaded_at INTEGER,
    accessed      INTEGER NOT NULL DEFAULT 0,
    pinned        INTEGER NOT NULL DEFAULT 0
) STRICT, WITHOUT ROWID;
CREATE INDEX content_by_status ON content (status, accessed);

-- One row a run of sync. Times in seconds since the epoch, with a fraction.
-- kind: 'listing', 'changes', or both joined with '+'.
CREATE TABLE sync_runs (
    id                INTEGER PRIMARY KEY,
    started_at        REAL NOT NULL,
    completed_at      REAL,
    assets_seen       INTEGER NOT NULL DEFAULT 0,
    assets_downloaded INTEGER NOT NULL DEFAULT 0,
    assets_failed     INTEGER NOT NULL DEFAULT 0,
    interrupted       INTEGER NOT NULL DEFAULT 0,
    kind              TEXT NOT NULL DEFAULT '',
    api_calls         INTEGER NOT NULL DEFAULT 0,
    bytes             INTEGER NOT NULL DEFAULT 0,
    error             TEXT
) STRICT;

-- The contract of DESIGN §3: one row an iCloud asset. checksum is what iCloud announces for the
-- original, cached_checksum what is on disk: 'downloaded' means that they are the same.
CREATE VIEW assets AS
SELECT asset.name AS asset_id,
       CASE content.status WHEN 'downloaded' THEN 'downloaded'
                           WHEN 'failed' THEN 'failed' ELSE 'pending' END AS status,
       asset.checksum AS checksum,
       asset.filename AS filename,
       CASE WHEN content.status <> 'downloaded' THEN NULL
            WHEN content.path LIKE '/%' THEN content.path
            ELSE cache.value || '/' || content.path END AS local_path,
       coalesce(content.attempts, 0) AS download_attempts,
       content.last_error AS last_error,
       asset.taken / 1000.0 AS created_at,
       content.downloaded_at / 1000.0 AS downloaded_at,
       CASE content.status WHEN 'downloaded' THEN content.checksum END AS cached_checksum,
       content.sha256 AS sha256,
       content.size AS size,
       zone.name AS zone,
       asset.id AS id
  FROM asset
  JOIN zone ON zone.id = asset.zone
  LEFT JOIN content ON content.checksum = asset.checksum
  LEFT JOIN metadata AS cache ON cache.key = 'cache_directory';
"""

_VERSION_2 = """
-- Files of this machine that import-existing has read, whether they matched or not, so that none is read
-- twice. path: absolute, in the bytes of the file system; identity: as that of a content; a file that has
-- another one now has to be read again. salted_sha1: the 20 bytes of Apple's checksum. sha256: hex.
CREATE TABLE hashed_file (
    path        BLOB NOT NULL PRIMARY KEY,
    identity    TEXT NOT NULL,
    salted_sha1 BLOB NOT NULL,
    sha256      TEXT NOT NULL
) STRICT, WITHOUT ROWID;

-- Contents that were here when a file turned away from them: gone, if no other file is left that shows them.
-- The queue of Cache.drop_unreferenced, so that a sync that changed nothing costs nothing.
CREATE TABLE left_behind (
    checksum TEXT NOT NULL PRIMARY KEY
) STRICT, WITHOUT ROWID;
CREATE TRIGGER inode_gone AFTER DELETE ON inode
  WHEN EXISTS (SELECT 1 FROM content WHERE checksum = old.checksum)
  BEGIN INSERT OR IGNORE INTO left_behind VALUES (old.checksum); END;
CREATE TRIGGER inode_shows_another_content AFTER UPDATE OF checksum ON inode
  WHEN old.checksum IS NOT new.checksum
       AND EXISTS (SELECT 1 FROM content WHERE checksum = old.checksum)
  BEGIN INSERT OR IGNORE INTO left_behind VALUES (old.checksum); END;

-- Whether a file of some size can be a photo at all. Directories have no checksum.
CREATE INDEX inode_by_size ON inode (size) WHERE checksum IS NOT NULL;
"""

_WHAT_LISTS_LEAVE_OUT = """
-- In metadata: 'listing_began:{zone name}' is the token of the first page of a listing under way, which stays
-- while 'listing_token' moves on; 'history_token:{zone name}' how far it has read the zone's whole history.
--
-- What Apple said of the indexes of a library while they were not finished (sync/indexing.py), '' else;
-- indexed: how far they were, in hundredths.
ALTER TABLE zone ADD COLUMN indexing TEXT NOT NULL DEFAULT '';
ALTER TABLE zone ADD COLUMN indexed INTEGER;
-- How many photos iCloud's counts hold beyond those that any list or history gives; and its counts of albums,
-- beyond what is in them. No error: they stay so on many accounts (facts/cloudkit.md §1.12).
ALTER TABLE zone ADD COLUMN excess INTEGER NOT NULL DEFAULT 0;
ALTER TABLE zone ADD COLUMN album_excess INTEGER NOT NULL DEFAULT 0;
"""

_CONTENTS_AS_APPLE_HAS_THEM = """
-- asset.duration was taken for seconds, and is milliseconds on the wire.
UPDATE asset SET duration = duration / 1000;

-- Videos of edited live photos, lengths of live photos and sizes that are not told were never asked for: each
-- library is listed once more. What is stored stays until then.
UPDATE zone SET relisting = 1 WHERE listed;
DELETE FROM listed_page;
DELETE FROM metadata WHERE key GLOB 'sync_token:*' OR key GLOB 'received:sync_token:*'
                        OR key GLOB 'listing_*:*' OR key GLOB 'received:listing_*:*'
                        OR key GLOB 'history_token:*' OR key GLOB 'received:history_token:*';
-- An edited slow-motion video has its file, and a name's extension counts for what a photo is: the tree is
-- built anew.
DELETE FROM metadata WHERE key = 'config_hash';

-- The contract of DESIGN §3, as before, but: asset.checksum is that of the best file there is of the photo, and
-- '' if there is none. Such a photo counts as failed, and says why: it is not waiting for anything.
DROP VIEW assets;
CREATE VIEW assets AS
SELECT asset.name AS asset_id,
       CASE WHEN content.status = 'downloaded' THEN 'downloaded'
            WHEN content.status = 'failed' THEN 'failed'
            WHEN asset.checksum = '' AND NOT asset.expunged THEN 'failed'
            ELSE 'pending' END AS status,
       asset.checksum AS checksum,
       CASE WHEN asset.filename <> '' THEN asset.filename
            ELSE coalesce((SELECT filename FROM master
                            WHERE master.zone = asset.zone AND master.name = asset.master), '')
            END AS filename,
       CASE WHEN content.status <> 'downloaded' THEN NULL
            WHEN content.path LIKE '/%' THEN content.path
            ELSE cache.value || '/' || content.path END AS local_path,
       coalesce(content.attempts, 0) AS download_attempts,
       CASE WHEN asset.checksum <> '' OR asset.expunged THEN content.last_error
            ELSE coalesce((SELECT 'iCloud has yet to give a file of it: ' || reason FROM owed
                            WHERE owed.zone = asset.zone AND owed.name IN (asset.master, asset.name)),
                          'iCloud has no file of it that can be had.') END AS last_error,
       asset.taken / 1000.0 AS created_at,
       content.downloaded_at / 1000.0 AS downloaded_at,
       CASE content.status WHEN 'downloaded' THEN content.checksum END AS cached_checksum,
       content.sha256 AS sha256,
       content.size AS size,
       zone.name AS zone,
       asset.id AS id
  FROM asset
  JOIN zone ON zone.id = asset.zone
  LEFT JOIN content ON content.checksum = asset.checksum
  LEFT JOIN metadata AS cache ON cache.key = 'cache_directory';
"""

_WHAT_IS_REFUSED = """
-- Parts of iCloud that were refused while others were given (sync/refusals.py): asked for ever more seldom.
-- zone: its name, '' for what belongs to the area. part: 'libraries', 'changes', 'list:HIDDEN', 'members:X' …
-- told: the album, folder or list as a person knows it. code and reason: as iCloud said them.
-- since, next_at: when it was first refused, and from when on it is asked for again. tries: how often it was.
-- harmless: 1 for what this account was never given, or what a zone's history stands in for: no failure.
CREATE TABLE refused_part (
    area     TEXT NOT NULL,
    zone     TEXT NOT NULL,
    part     TEXT NOT NULL,
    told     TEXT NOT NULL,
    code     TEXT NOT NULL,
    reason   TEXT NOT NULL,
    since    INTEGER NOT NULL,
    tries    INTEGER NOT NULL,
    next_at  INTEGER NOT NULL,
    harmless INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (area, zone, part)
) STRICT, WITHOUT ROWID;

-- In which round a record that is owed was last asked for, 0 for none: what is refused for ever takes turns.
ALTER TABLE owed ADD COLUMN asked INTEGER NOT NULL DEFAULT 0;
CREATE INDEX owed_by_asked ON owed (zone, asked);

-- What was refused when a run ended, as a person is told: a JSON array of texts.
ALTER TABLE sync_runs ADD COLUMN refused TEXT NOT NULL DEFAULT '[]';
"""

_RELATIONS_OF_ANY_LIBRARY = """
-- CPLContainerRelation: the asset is in the album. zone: the album's; the asset may be of another one
-- (tree/memberships.py), so the photo comes first in the key. Either may still be unknown. created decides
-- who keeps a plain name in an album.
CREATE TABLE relation_of_any_library (
    zone    INTEGER NOT NULL REFERENCES zone ON DELETE CASCADE,
    asset   TEXT NOT NULL,
    album   TEXT NOT NULL,
    created INTEGER NOT NULL,
    listing INTEGER NOT NULL,
    PRIMARY KEY (asset, album, zone)
) STRICT, WITHOUT ROWID;
INSERT INTO relation_of_any_library SELECT zone, asset, album, created, listing FROM relation;
DROP TABLE relation;
ALTER TABLE relation_of_any_library RENAME TO relation;
CREATE INDEX relation_by_album ON relation (zone, album);

-- The number of the listing after which a zone's whole history was read for relations; 0: never
-- (sync/foreign_members.py).
ALTER TABLE zone ADD COLUMN relations_read INTEGER NOT NULL DEFAULT 0;
-- What was listed before lacks the photos of a shared library in own albums.
UPDATE zone SET members_due = 1;
"""

_COPIES_THAT_CAN_BE_CHANGED = """
-- The owner's bit for writing (tree/modes.py): 0444 becomes 0644, 0400 0600, 0555 0755.
UPDATE inode SET mode = mode | 128;
-- Hidden frames of a burst have a place now: the tree is built anew.
DELETE FROM metadata WHERE key = 'config_hash';
"""

_WHAT_IS_COMPLETE = """
-- Once every photo of the library was stored, for good; and once its albums' members were compared with
-- iCloud's counts after that (tree/growth.py).
ALTER TABLE zone ADD COLUMN complete INTEGER NOT NULL DEFAULT 0;
ALTER TABLE zone ADD COLUMN albums_complete INTEGER NOT NULL DEFAULT 0;
-- What was listed by an earlier version is believed: it never said anything else.
UPDATE zone SET complete = listed, albums_complete = listed;
INSERT INTO metadata SELECT 'listed_once', 'before this was noted'
    WHERE EXISTS (SELECT 1 FROM zone) AND NOT EXISTS (SELECT 1 FROM zone WHERE NOT listed);
"""

Migration = Callable[[apsw.Connection], None]


def _create(connection: apsw.Connection) -> None:
    connection.execute(_VERSION_1)


def _remember_hashed_files(connection: apsw.Connection) -> None:
    connection.execute(_VERSION_2)


def _note_what_lists_leave_out(connection: apsw.Connection) -> None:
    connection.execute(_WHAT_LISTS_LEAVE_OUT)


def _take_contents_as_apple_has_them(connection: apsw.Connection) -> None:
    connection.execute(_CONTENTS_AS_APPLE_HAS_THEM)


def _note_what_is_refused(connection: apsw.Connection) -> None:
    connection.execute(_WHAT_IS_REFUSED)


def _let_relations_name_any_library(connection: apsw.Connection) -> None:
    connection.execute(_RELATIONS_OF_ANY_LIBRARY)


def _let_copies_be_changed(connection: apsw.Connection) -> None:
    connection.execute(_COPIES_THAT_CAN_BE_CHANGED)


def _note_what_is_complete(connection: apsw.Connection) -> None:
    connection.execute(_WHAT_IS_COMPLETE)


MIGRATIONS: tuple[Migration, ...] = (
    _create,
    _remember_hashed_files,
    _note_what_lists_leave_out,
    _take_contents_as_apple_has_them,
    _note_what_is_refused,
    _let_relations_name_any_library,
    _let_copies_be_changed,
    _note_what_is_complete,
)
"""``MIGRATIONS[n]`` takes a database from version n to n + 1. Never change one that was released."""

assert len(MIGRATIONS) == VERSION
