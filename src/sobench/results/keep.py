"""A value that is kept in a file of runs/.cache: a checksum, and JSON. No pandas, no torch.

It saves the time to find the value again, and may be deleted at any time. A file that is damaged, foreign, or of
another version of the code is ignored and rewritten.
"""

from __future__ import annotations

import json
import os
import zlib
from pathlib import Path
from typing import Any

from sobench.results.parse import loads
from sobench.system.files import write_atomically


def load(path: Path, code: str) -> Any:
    """The value in a file; None if there is none of this version. code: a name of the version."""
    try:
        checksum, _, text = path.read_bytes().partition(b"\n")
        whole = loads(text) if int(checksum, 16) == zlib.crc32(text) else {}
        return whole["value"] if whole.get("code") == code else None
    except Exception:  # a foreign file may raise anything
        return None


def save(path: Path, code: str, value: Any) -> None:
    """Replace the file, if its folder can be written."""
    text = json.dumps({"code": code, "value": value}).encode()
    try:
        os.makedirs(path.parent, exist_ok=True)
        write_atomically(path, b"%08x\n%b" % (zlib.crc32(text), text), sync=False)
    except OSError:
        return
