"""Where one installation keeps its things on disk."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

DEFAULT_HOME = Path(".headwater")


@dataclass(frozen=True, slots=True)
class Home:
    """The folders below one root (default `.headwater` in the working directory), and a store that may lie elsewhere.

    Attributes
    ----------
    root : Path
    store_place : str, optional
        Folder or URL of the store, see `headwater.store.open_store`; without, the folder `store` below the root.
    """

    root: Path = DEFAULT_HOME
    store_place: str | None = None

    @property
    def releases(self) -> Path:
        """Releases and the pointer to the current one."""
        return self.root / "releases"

    @property
    def store(self) -> Path | str:
        """Where the store is: profiles, nearline state and candidates."""
        return self.store_place or self.root / "store"

    @property
    def log(self) -> Path:
        """Rank logs and events, as the service writes and the stream reads them."""
        return self.root / "log"

    @property
    def knowledge(self) -> Path:
        """The versions of knowledge that are served."""
        return self.root / "knowledge"

    @property
    def report(self) -> Path:
        """The demo's HTML report."""
        return self.root / "report"
