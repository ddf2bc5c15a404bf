"""Sizes that iCloud does not tell: asked of the server that has the content.

A record may say 0 where there are bytes, or nothing (facts/cloudkit.md §1.13). A file must have its size before
anybody opens it, so it is measured when the record comes, by a request for the first byte; until then the
file is not shown, and its record is owed.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from functools import partial

import msgspec
import trio

from icloudfs.apple.decode import LARGEST_CONTENT
from icloudfs.apple.records import UNKNOWN_SIZE, Asset, Master, Record, Resource
from icloudfs.errors import ContentError, Offline, ProtocolError, Throttled, one_error
from icloudfs.state.catalogue import FILE_PREFIXES
from icloudfs.sync.books import Books

log = logging.getLogger(__name__)


async def measured(books: Books, records: Sequence[Record]) -> tuple[Record, ...]:
    """The same records with their sizes. What cannot be measured now stays unknown, and is no error.

    Raises LoginNeeded, and Offline if iCloud does not answer either.
    """
    sizes: dict[str, int] = {}
    wanted = {
        resource.checksum: resource.url
        for record in records
        if isinstance(record, Master | Asset)
        for prefix, resource in _to_measure(record)
        if resource.url
    }
    with one_error():
        async with trio.open_nursery() as nursery:
            for checksum, url in wanted.items():
                nursery.start_soon(partial(_measure, books, checksum, url, sizes))
    return tuple(_with_sizes(record, sizes) for record in records)


def _to_measure(record: Master | Asset) -> list[tuple[str, Resource]]:
    """What would be a file; all that there is, if the original cannot be had."""
    whatever = isinstance(record, Master) and record.original is None
    return [
        (prefix, resource)
        for prefix, resource in record.resources.items()
        if resource.size == UNKNOWN_SIZE and (whatever or prefix in FILE_PREFIXES)
    ]


async def _measure(books: Books, checksum: str, url: str, sizes: dict[str, int]) -> None:
    try:
        async with books.requests:
            size = await books.size_of(url)
    except (ContentError, ProtocolError, Throttled) as error:
        log.info("the size of %s cannot be measured: %s", checksum, error)
        return
    except Offline as error:
        if not await books.refusals.is_of_one_call(error):
            raise
        log.info("the size of %s cannot be measured: %s", checksum, error)
        return
    if size and size <= LARGEST_CONTENT:
        sizes[checksum] = size


def _with_sizes(record: Record, sizes: dict[str, int]) -> Record:
    if not isinstance(record, Master | Asset):
        return record
    found = {
        prefix: msgspec.structs.replace(resource, size=sizes[resource.checksum])
        for prefix, resource in record.resources.items()
        if resource.size == UNKNOWN_SIZE and resource.checksum in sizes
    }
    if not found:
        return record
    return msgspec.structs.replace(record, resources=record.resources | found)
