"""Where things appear: directories, names, inode numbers.

Writing (``placing``) happens in the transaction that stores a page of records; reading (``directory``)
is what the mount does, one indexed query a request.
"""
