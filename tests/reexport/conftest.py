"""The local iCloud and the account of tests/whole, for tests that serve the mount to other machines.

They run by ``scripts/reexport-test``, which installs the servers.
"""

from tests.whole.conftest import (  # noqa: F401
    _common_icloud,
    _fuse,
    common_scratch,
    icloud,
    library,
    listed,
    signed_in,
    stranger,
)
