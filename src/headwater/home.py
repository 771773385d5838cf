"""Where one installation keeps its things on disk."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

DEFAULT_HOME = Path(".headwater")


@dataclass(frozen=True, slots=True)
class Home:
    """The folders below one root (default `.headwater` in the working directory)."""

    root: Path = DEFAULT_HOME

    @property
    def releases(self) -> Path:
        """Releases and the pointer to the current one."""
        return self.root / "releases"

    @property
    def store(self) -> Path:
        """The embedded store: profiles, nearline state and candidates."""
        return self.root / "store"

    @property
    def log(self) -> Path:
        """Rank logs and events, as the service writes and the stream reads them."""
        return self.root / "log"

    @property
    def report(self) -> Path:
        """The demo's HTML report."""
        return self.root / "report"
