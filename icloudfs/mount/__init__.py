"""The filesystem: what the kernel asks, answered from the state database and the cache.

``operations`` answers requests, ``session_loop`` fetches them, ``mounting`` begins and ends it all,
``kernel`` tells the kernel what changed. Everything else here is one idea that these four share.
"""
