"""A folder for a program's life. In: a name's beginning. Out: a folder that goes with it, also after a kill."""

from __future__ import annotations

import os
import secrets
import shutil
import tempfile
from pathlib import Path

from lacuna.storage.files import locked

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]


class Scratch:
    """A folder below the system's one for temporary files, held by a lock: where nobody holds it, its program was
    killed, and whoever makes the next one of that name removes it."""

    def __init__(self, name: str) -> None:
        place = Path(tempfile.gettempdir())
        if fcntl is not None:
            for left in place.glob(f"{name}-*"):
                _sweep(left)
        unheld = Path(tempfile.mkdtemp(prefix=f".{name}-", dir=place))  # so named that nobody sweeps it yet
        self._held: int | None = os.open(unheld, os.O_RDONLY) if fcntl is not None else None
        if self._held is not None:
            locked(self._held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        self.path = unheld.rename(place / f"{name}-{secrets.token_hex(8)}")

    def close(self) -> None:
        """Remove it."""
        shutil.rmtree(self.path, ignore_errors=True)
        if self._held is not None:
            os.close(self._held)
            self._held = None


def _sweep(folder: Path) -> None:
    try:
        held = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except OSError:
        return  # another user's, or gone by now
    try:
        if os.fstat(held).st_uid == os.getuid() and locked(held, fcntl.LOCK_EX | fcntl.LOCK_NB):
            shutil.rmtree(folder, ignore_errors=True)
    finally:
        os.close(held)
