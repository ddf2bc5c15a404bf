"""Content on this disk: fetched when it is read, verified, kept, evicted.

``Cache`` is the way in; ``Source`` is what it needs of iCloud.
"""

from __future__ import annotations

from icloudfs.cache.cache import Cache
from icloudfs.cache.fetch import Transfer
from icloudfs.cache.handle import OpenFile
from icloudfs.cache.source import Download, ICloudSource, Source

__all__ = ["Cache", "Download", "ICloudSource", "OpenFile", "Source", "Transfer"]
