"""What people type and read, ids and titles, from and to the 64-bit keys that the store holds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from headwater.data.vocabulary import UNKNOWN, Vocabulary, key_of
from headwater.errors import ReleaseError, SchemaError
from headwater.home import Home


@dataclass(frozen=True, slots=True)
class Names:
    """Ids and titles of the promoted release of a home; without one, keys are all there is.

    Attributes
    ----------
    release : str or None
    users, items : Vocabulary or None
    titles : list of str
        By item code.
    """

    release: str | None = None
    users: Vocabulary | None = None
    items: Vocabulary | None = None
    titles: Sequence[str] = ()

    @classmethod
    def of(cls, home: Home) -> Names:
        """Those of the promoted release, if there is one; its channels are not loaded."""
        import pyarrow.parquet as pq

        from headwater import release as releases

        try:
            name = releases.current(home.releases)
        except ReleaseError:
            return cls()
        folder = home.releases / name
        try:
            return cls(
                name,
                Vocabulary.load(folder / "users.parquet"),
                Vocabulary.load(folder / "items.parquet"),
                pq.read_table(folder / "items.parquet", columns=["title"]).column("title").to_pylist(),
            )
        except OSError as error:
            raise ReleaseError(f"release {name} cannot be read: {error}; roll back or train again") from error

    def user_keys(self, typed: str) -> list[int]:
        """The keys that a user id on the command line may have: one where a release says of which kind ids are.

        Raises `SchemaError` where the ids of the release are integers and this is none.
        """
        is_integer = typed.removeprefix("-").isdecimal()
        if self.users is not None and len(self.users):
            if self.users.kind == "string":
                return [key_of(typed)]
            if not is_integer:
                raise SchemaError(f"user ids of release {self.release} are integers; {typed!r} is none")
            return [key_of(int(typed))]
        return [key_of(int(typed)), key_of(typed)] if is_integer else [key_of(typed)]

    def knows_user(self, key: int) -> bool:
        """Whether the release was trained with the user."""
        return self.users is not None and self.users.codes_of_keys(np.array([key], np.int64))[0] != UNKNOWN

    def items_of(self, keys: Sequence[int]) -> list[tuple[int | str, str]]:
        """(id, title) of each item; the key and no title of one that the release does not know."""
        if self.items is None or not len(keys):
            return [(key, "") for key in keys]
        codes: list[int] = self.items.codes_of_keys(np.array(keys, np.int64)).tolist()
        return [
            (key, "") if code == UNKNOWN else (self.items.decode([code])[0], self.titles[code])
            for key, code in zip(keys, codes, strict=True)
        ]
