"""Makes the state equal to iCloud: the first listing, the changes since, the loop around both.

``pages`` stores one page of records; ``listing`` and ``changes`` fetch pages; ``sync`` is one run of
both; ``schedule`` decides when to run.
"""
