"""A release on disk: built whole, verified when loaded, promoted and rolled back by one atomic pointer."""

from __future__ import annotations

import math
import os
import shutil
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, cast

import msgspec
import numpy as np

import headwater
from headwater.data.dataset import Dataset
from headwater.data.folder import file_checksum, sync, sync_tree
from headwater.data.vocabulary import Vocabulary
from headwater.errors import ReleaseError
from headwater.ranking import served_class
from headwater.ranking.base import Ranker
from headwater.release.manifest import FORMAT, Manifest, Merge, Part, Window, checksum
from headwater.retrieval import channel_class
from headwater.retrieval.base import Channel, Trainable

if TYPE_CHECKING:
    from numpy.typing import NDArray

POINTER = "current"
MANIFEST = "manifest.json"


@dataclass(frozen=True)
class Release:
    """Vocabularies, channels and ranker that were trained together and serve together.

    Attributes
    ----------
    manifest : Manifest
    users, items : Vocabulary
    titles : list of str
        By item code.
    categories : (items,) int32
        Codes into `category_names`.
    category_names : list of str
    channels : list of Channel
    ranker : Ranker
    """

    manifest: Manifest
    users: Vocabulary
    items: Vocabulary
    titles: list[str]
    categories: NDArray[np.int32]
    category_names: list[str]
    channels: list[Channel]
    ranker: Ranker

    @property
    def id(self) -> str:
        """The manifest's release id."""
        return self.manifest.release


def build(
    root: Path,
    *,
    dataset: Dataset,
    channels: Sequence[Channel],
    ranker: Ranker,
    merge: Merge,
    metrics: Mapping[str, Mapping[str, float]],
    now: float | None = None,
) -> str:
    """Write a release under `root` and return its id; it is not promoted yet.

    Everything is written into a temporary folder that is renamed at the end, so that a crash leaves no
    half release. Raises `ReleaseError` where a channel cannot be saved.
    """
    root.mkdir(parents=True, exist_ok=True)
    staging = Path(tempfile.mkdtemp(prefix=".building-", dir=root))
    try:
        dataset.users.save(staging / "users.parquet")
        _save_items(dataset, staging / "items.parquet")
        parts = [_save_part(channel, staging, f"channels/{channel.name}") for channel in channels]
        ranker_part = _save_part(ranker, staging, "ranker")
        checksums = _checksums(staging)
        moment = time.gmtime(now)
        manifest = Manifest(
            format=FORMAT,
            release="",
            created=time.strftime("%Y-%m-%dT%H:%M:%SZ", moment),
            headwater=headwater.__version__,
            users=dataset.users.fingerprint(),
            items=dataset.items.fingerprint(),
            channels=parts,
            ranker=ranker_part,
            merge=merge,
            window=Window(
                dataset=dataset.name,
                checksum=dataset.checksum(),
                interactions=len(dataset),
                first=int(dataset.event_times.min(initial=0)),
                last=int(dataset.event_times.max(initial=0)),
            ),
            metrics={name: _defined(figures) for name, figures in metrics.items()},
            checksums=checksums,
        )
        release = time.strftime("%Y%m%dT%H%M%SZ", moment) + "-" + checksum(manifest.to_json())[:8]
        manifest = msgspec.structs.replace(manifest, release=release)
        (staging / MANIFEST).write_bytes(manifest.to_json())
        sync_tree(staging)
        destination = root / release
        if destination.exists():  # the same content within the same second: it is there already
            shutil.rmtree(staging)
        else:
            staging.rename(destination)
            sync(root)
    except BaseException:
        shutil.rmtree(staging, ignore_errors=True)
        raise
    return release


def read_manifest(folder: Path) -> Manifest:
    """The manifest of the release in `folder`; raises `ReleaseError` where there is none."""
    try:
        return Manifest.from_json((folder / MANIFEST).read_bytes(), str(folder / MANIFEST))
    except FileNotFoundError as error:
        raise ReleaseError(f"{folder} is no release: it has no {MANIFEST}") from error


def load(folder: Path) -> Release:
    """Read and verify one release.

    Raises
    ------
    ReleaseError
        No manifest, a missing or altered file.
    LineageError
        A part was built on another item vocabulary.
    """
    manifest = read_manifest(folder)
    found = _checksums(folder)
    for path, expected in manifest.checksums.items():
        if found.get(path) != expected:
            state = "is missing" if path not in found else "was altered since the release was built"
            raise ReleaseError(f"release {manifest.release}: {path} {state}; roll back or train again")
    items = Vocabulary.load(folder / "items.parquet")
    users = Vocabulary.load(folder / "users.parquet")
    items.require_lineage(manifest.items, f"release {manifest.release}")
    titles, categories, category_names = _load_items(folder / "items.parquet")
    channels = [
        cast("Channel", channel_class(part.kind).load(folder / part.folder, items)) for part in manifest.channels
    ]
    return Release(
        manifest=manifest,
        users=users,
        items=items,
        titles=titles,
        categories=categories,
        category_names=category_names,
        channels=channels,
        ranker=cast("Ranker", served_class(manifest.ranker.kind).load(folder / manifest.ranker.folder, items)),
    )


# -- the pointer


def promote(root: Path, release: str) -> None:
    """Make `release` the current one, atomically: a reader sees the old id or the new one, never neither.

    It is read and verified first: what cannot be loaded cannot be promoted. Raises as `load` does, and
    `ReleaseError` where there is no such release.
    """
    if release not in listed(root):
        raise ReleaseError(f"{root} has no release {release!r}; it has {', '.join(listed(root)) or 'none'}")
    load(root / release)
    staging = root / f".{POINTER}-{os.getpid()}"
    with staging.open("w", encoding="utf-8") as handle:
        handle.write(release + "\n")
        handle.flush()
        os.fsync(handle.fileno())
    staging.replace(root / POINTER)
    sync(root)


def rollback(root: Path) -> str:
    """Promote the newest release built before the current one, and return its id."""
    now = current(root)
    older = [release for release in listed(root) if release < now]
    if not older:
        raise ReleaseError(f"{root} has no release older than {now} to roll back to")
    promote(root, older[-1])
    return older[-1]


def current(root: Path) -> str:
    """The id of the promoted release. Raises `ReleaseError` where none is, or the pointer is damaged."""
    try:
        return (root / POINTER).read_text(encoding="utf-8").strip()
    except UnicodeDecodeError as error:
        raise ReleaseError(f"{root / POINTER} is damaged; promote a release again") from error
    except FileNotFoundError as error:
        raise ReleaseError(f"{root} has no promoted release; run `headwater train RECIPE` first") from error


def listed(root: Path) -> list[str]:
    """Ids of all whole releases, oldest first."""
    return sorted(path.parent.name for path in root.glob(f"[!.]*/{MANIFEST}"))


# -- parts of a release


def _save_part(part: Channel | Ranker, staging: Path, folder: str) -> Part:
    if not isinstance(part, Trainable):
        raise ReleaseError(f"{part.name} keeps online state, not an artefact; leave it out of the release")
    part.save(staging / folder)
    return Part(name=part.name, kind=type(part).kind, folder=folder)


def _defined(figures: Mapping[str, float]) -> dict[str, float]:
    """The figures without those that are not defined (nan), for which a manifest has no word."""
    return {name: value for name, value in figures.items() if math.isfinite(value)}


def _checksums(folder: Path) -> dict[str, str]:
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path != folder / MANIFEST)
    return {path.relative_to(folder).as_posix(): file_checksum(path) for path in files}


def _save_items(dataset: Dataset, path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    codes, names = dataset.categories
    columns = {
        "id": pa.array(dataset.items.ids),
        "title": pa.array(dataset.titles),
        "category": pa.array([names[code] for code in codes]),
    }
    pq.write_table(pa.table(columns), path)


def _load_items(path: Path) -> tuple[list[str], NDArray[np.int32], list[str]]:
    import pyarrow.parquet as pq

    table = pq.read_table(path, columns=["title", "category"])
    category = table.column("category").combine_chunks().dictionary_encode()
    codes = category.indices.to_numpy(zero_copy_only=False).astype(np.int32)
    return table.column("title").to_pylist(), codes, category.dictionary.to_pylist()
