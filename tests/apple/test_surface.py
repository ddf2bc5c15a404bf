from __future__ import annotations

import subprocess
import sys

import pytest

from icloudfs import apple


def test_every_name_is_there() -> None:
    for name in apple.__all__:
        assert getattr(apple, name) is not None
    with pytest.raises(AttributeError):
        apple.__getattr__("nothing")


def test_records_do_not_cost_the_http_client() -> None:
    program = "import sys, icloudfs.apple.records; sys.exit('httpx' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


def test_nothing_above_is_imported() -> None:
    program = (
        "import sys, icloudfs.apple.icloud; sys.exit(any(m.startswith('icloudfs.') and not "
        "m.startswith(('icloudfs.apple', 'icloudfs.errors', 'icloudfs.units', 'icloudfs.aside',"
        " 'icloudfs.descriptors')) for m in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
