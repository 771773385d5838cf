"""Knowledge as it is built: a folder of arrays and one document, checked whole before anything serves it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import xxhash

from headwater.data.folder import file_checksum, replacing
from headwater.errors import ArtefactError

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from numpy.typing import NDArray

FORMAT = 1
DOCUMENT = "knowledge.json"
HALF, KEY, CODE = np.dtype("<f2"), np.dtype("<i8"), np.dtype("<u2")

MAX_CATEGORIES = (1 << 16) - 2
"""Categories are coded in 16 bits; the paper has fewer than 1,000."""

ARRAYS: dict[str, np.dtype[Any]] = {
    "user_keys": KEY,
    "users": HALF,
    "pair_offsets": KEY,
    "pair_categories": CODE,
    "pairs": HALF,
    "item_keys": KEY,
    "items": HALF,
    "item_categories": CODE,
    "category_keys": KEY,
    "default_user": HALF,
    "default_item": HALF,
    "default_pairs": HALF,
}

ROWS_CHECKED = 1 << 18

HEADER_BYTES = 128
"""Of an array's file, before its numbers."""


@dataclass(frozen=True, slots=True)
class Built:
    """What a center publishes (eq. 6); arrays are mapped from files, numbers in half precision.

    Attributes
    ----------
    folder : Path
    about : dict
        `parts`: name and width of each part of K̂(u, i, c), in order, `user`, `item`, `product`, then the tasks.
        `users`, `items`: fingerprints. `made_of`: identities of the models. `as_of`: Unix second that histories end
        before.
    checksum : str
        Of all of it.
    user_keys, item_keys, category_keys : int64, ascending
        64-bit keys; a category's code is its place.
    users : (users, d); items : (items, d)
    pair_offsets : (users + 1,) int64
        The slice offsets[u]:offsets[u + 1] of `pair_categories`, ascending, and of `pairs` is what user u was
        observed with.
    pairs : (pairs, p)
    item_categories : (items,) uint16
        Code; as many as there are categories for none.
    default_user, default_item : (d,)
    default_pairs : (categories + 1, p)
        Of a category whom nobody says with whom; the last row is of an unknown category.
    """

    folder: Path
    about: dict[str, Any]
    checksum: str
    user_keys: NDArray[np.int64]
    users: NDArray[np.float16]
    pair_offsets: NDArray[np.int64]
    pair_categories: NDArray[np.uint16]
    pairs: NDArray[np.float16]
    item_keys: NDArray[np.int64]
    items: NDArray[np.float16]
    item_categories: NDArray[np.uint16]
    category_keys: NDArray[np.int64]
    default_user: NDArray[np.float16]
    default_item: NDArray[np.float16]
    default_pairs: NDArray[np.float16]

    def require_whole(self) -> None:
        """Raise `ArtefactError`, which names array and row, where keys, codes, shapes or numbers are not right."""
        width, of_pairs = self.users.shape[1], self.pairs.shape[1]
        n_users, n_pairs = len(self.user_keys), int(self.pair_offsets[-1]) if len(self.pair_offsets) else -1
        n_categories = len(self.category_keys)
        shapes = {
            "users": (n_users, width),
            "items": (len(self.item_keys), width),
            "item_categories": (len(self.item_keys),),
            "pair_offsets": (n_users + 1,),
            "pair_categories": (n_pairs,),
            "pairs": (n_pairs, of_pairs),
            "default_user": (width,),
            "default_item": (width,),
            "default_pairs": (n_categories + 1, of_pairs),
        }
        for name, shape in shapes.items():
            if getattr(self, name).shape != shape:
                raise ArtefactError(f"{self.folder}: {name} has shape {getattr(self, name).shape}, not {shape}")
        widths = list(self.about["parts"].values())
        if widths[:3] != [width] * 3 or sum(widths[3:]) != of_pairs:
            raise ArtefactError(f"{self.folder}: its parts {self.about['parts']} are not as wide as its arrays")
        for name in ("user_keys", "item_keys", "category_keys"):
            self._require(name, np.diff(getattr(self, name)) > 0, "does not ascend")
        self._require("pair_offsets", np.diff(self.pair_offsets) >= 0, "falls")
        self._require("item_categories", self.item_categories <= n_categories, "is no category")
        self._require("pair_categories", self.pair_categories < n_categories, "is no category")
        for name in ("users", "items", "pairs", "default_user", "default_item", "default_pairs"):
            values = getattr(self, name)
            for start in range(0, len(values), ROWS_CHECKED):
                self._require(name, np.isfinite(values[start : start + ROWS_CHECKED]), "is not finite", start)

    def _require(self, name: str, holds: NDArray[np.bool_], what: str, start: int = 0) -> None:
        if not holds.all():
            row = start + int((~holds.reshape(len(holds), -1)).any(1).argmax())
            raise ArtefactError(f"{self.folder}: {name}, row {row}, {what}; build it again")


def write_built(folder: Path, arrays: Mapping[str, NDArray[Any]], about: Mapping[str, Any]) -> Built:
    """Write what was built into `folder`, whole or not at all, and read it back, checked.

    Raises `ArtefactError` where numbers are too large for half precision, or as `Built.require_whole` does.
    """
    with replacing(folder) as content:
        files = {}
        for name, dtype in ARRAYS.items():
            with np.errstate(over="ignore"):  # what is too large becomes infinite, which is refused by its name
                np.save(content / f"{name}.npy", np.asarray(arrays[name]).astype(dtype, copy=False), allow_pickle=False)
            files[name] = file_checksum(content / f"{name}.npy")
        head = {"format": FORMAT, "about": dict(about), "files": files}
        text = json.dumps({**head, "checksum": _checksum(head)}, indent=2)
        (content / DOCUMENT).write_text(text + "\n", encoding="utf-8")
        read_built(content).require_whole()
    return read_built(folder)


def read_built(folder: Path, *, trusted: Collection[str] = ()) -> Built:
    """Read what `write_built` wrote.

    Parameters
    ----------
    trusted : names of arrays
        Those whose checksum is not asked.

    Raises
    ------
    ArtefactError
        A file is missing, truncated or altered.
    """
    try:
        document = json.loads((folder / DOCUMENT).read_bytes())
        checksum = document.pop("checksum")
        if document["format"] != FORMAT or checksum != _checksum(document):
            raise ArtefactError(f"{folder / DOCUMENT} was altered, or is of another format; build it again")
        arrays = {}
        for name, dtype in ARRAYS.items():
            path = folder / f"{name}.npy"
            if name not in trusted and file_checksum(path) != document["files"][name]:
                raise ArtefactError(f"{path} is truncated or altered; build it again")
            # Nothing cannot be mapped.
            mode = "r" if path.stat().st_size > HEADER_BYTES else None
            arrays[name] = np.load(path, allow_pickle=False, mmap_mode=mode).view(np.ndarray)
            if arrays[name].dtype != dtype:
                raise ArtefactError(f"{path} holds {arrays[name].dtype}, not {dtype}; build it again")
    except FileNotFoundError as error:
        raise ArtefactError(f"{folder} is no built knowledge: {Path(error.filename).name} is missing") from error
    except (ValueError, KeyError, TypeError) as error:
        raise ArtefactError(f"{folder} is no built knowledge, or was altered ({error}); build it again") from error
    return Built(folder, document["about"], checksum, **arrays)


def _checksum(head: Mapping[str, Any]) -> str:
    return xxhash.xxh3_128_hexdigest(json.dumps(head).encode())
