"""The manifest: what one release is made of, byte for byte."""

from __future__ import annotations

import msgspec
import xxhash

from headwater.errors import ReleaseError

FORMAT = 1


class Part(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One channel or ranker of a release: its name, its kind, and its folder inside the release."""

    name: str
    kind: str
    folder: str


class Window(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The data that a release learned from: name, checksum, and the first and last event time."""

    dataset: str
    checksum: str
    interactions: int
    first: int
    last: int


class Merge(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How the service merges channels: `pool` candidates a request, shared out by `weights` of channel names."""

    weights: dict[str, float]
    pool: int


class Manifest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Everything that makes a release one immutable, promotable thing.

    Attributes
    ----------
    format : int
        Version of this layout.
    release : str
        Its id: UTC time of building and the first digits of its content.
    created : str
        ISO 8601, UTC.
    headwater : str
        Version of the package that built it.
    users, items : str
        Vocabulary fingerprints.
    channels : list of Part
    ranker : Part
    merge : Merge
    window : Window
    metrics : dict
        Validation figures of each part, by channel, then metric.
    checksums : dict
        xxh3-128 of every file, by path inside the release.
    """

    format: int
    release: str
    created: str
    headwater: str
    users: str
    items: str
    channels: list[Part]
    ranker: Part
    merge: Merge
    window: Window
    metrics: dict[str, dict[str, float]]
    checksums: dict[str, str]

    def to_json(self) -> bytes:
        """Indented JSON, the same bytes for the same manifest."""
        return msgspec.json.format(msgspec.json.encode(self, order="sorted"), indent=2) + b"\n"

    @classmethod
    def from_json(cls, raw: bytes, where: str) -> Manifest:
        """Read what `to_json` wrote; raises `ReleaseError`, which names `where`."""
        try:
            manifest = msgspec.json.decode(raw, type=cls)
        except msgspec.MsgspecError as error:
            raise ReleaseError(f"{where} is not a release manifest: {error}") from error
        if manifest.format != FORMAT:
            raise ReleaseError(f"{where} has format {manifest.format}; this version reads {FORMAT}. Train it again.")
        return manifest


def checksum(raw: bytes) -> str:
    """xxh3-128, as a hex string."""
    return xxhash.xxh3_128_hexdigest(raw)
