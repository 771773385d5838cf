"""One folder for every trained channel and ranker: config.json and tensors.safetensors, checked when read.

What a channel serves from beside its weights, such as an index, lies there as files of their own, which config.json
names; they may be mapped, so that processes share them.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, TypeVar

import numpy as np
import xxhash
from pydantic import BaseModel

from headwater.config import parse
from headwater.data.folder import file_checksum, recover, replacing
from headwater.data.vocabulary import Vocabulary
from headwater.errors import ArtefactError, ConfigError

if TYPE_CHECKING:
    from numpy.typing import NDArray

FORMAT = 1
CONFIG = "config.json"
TENSORS = "tensors.safetensors"

DTYPES = {"F32": "<f4", "I64": "<i8", "I32": "<i4", "U8": "u1"}
"""What safetensors calls the types of arrays that are mapped."""

C = TypeVar("C", bound=BaseModel)


class Artefact(NamedTuple, Generic[C]):
    """What an artefact says of itself.

    Attributes
    ----------
    config : pydantic model
    n_items : int
        The size of the vocabulary when it was built; that in use may have grown since.
    files : dict of str to str
        The other files of the folder, each with what its writer said identifies its content.
    """

    config: C
    n_items: int
    files: dict[str, str]


def save_artefact(
    path: Path,
    *,
    kind: str,
    config: BaseModel,
    vocabulary: str,
    tensors: Mapping[str, NDArray[Any]],
    files: Mapping[str, Callable[[Path], str]] = MappingProxyType({}),
) -> None:
    """Write an artefact into the folder `path`, whole or not at all.

    After a crash at any instant the old artefact or the new one is there, never a mixture; see `replacing`.

    Parameters
    ----------
    path : Path
        Absent, empty, or an older artefact.
    kind : str
        What it is, as `channel_class` knows it.
    config : pydantic model
    vocabulary : str
        Fingerprint of the items that its codes mean.
    tensors : mapping of str to array
    files : mapping of str to callable
        What else lies in the folder: each is given the place to write to, and returns what identifies its content.

    Raises
    ------
    ArtefactError
        `path` holds anything else, which is left as it is; or `vocabulary` is empty, for nothing was trained.
    """
    from safetensors.numpy import save

    if not vocabulary:
        raise ArtefactError(f"this {kind} is not trained; call fit before save")
    if path.exists() and (not path.is_dir() or {entry.name for entry in path.iterdir()} - _own_files(path)):
        raise ArtefactError(f"{path} holds other things than an artefact; save into a folder of its own")
    raw = save({name: np.ascontiguousarray(tensor) for name, tensor in tensors.items()})
    head = {
        "format": FORMAT,
        "kind": kind,
        "vocabulary": vocabulary,
        "config": config.model_dump(mode="json"),
        "tensors": xxhash.xxh3_128_hexdigest(raw),
    }
    with replacing(path) as folder:
        (folder / TENSORS).write_bytes(raw)
        if files:
            head["files"] = {name: write(folder / name) for name, write in files.items()}
        document = {**head, "checksum": _checksum(head)}
        (folder / CONFIG).write_text(json.dumps(document, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def load_artefact(
    path: Path, vocabulary: Vocabulary, *, kind: str, config: type[C]
) -> tuple[C, dict[str, NDArray[Any]], int]:
    """Read and verify what `save_artefact` wrote.

    Returns
    -------
    config, tensors, n_items
        `n_items` is the size of the vocabulary when the artefact was built; `vocabulary` may have grown since.

    Raises
    ------
    ArtefactError
        A file is missing, truncated or altered, or of another format or kind.
    LineageError
        It was built on another item vocabulary.
    """
    artefact = open_artefact(path, vocabulary, kind=kind, config=config)
    return artefact.config, read_tensors(path / TENSORS), artefact.n_items


def open_artefact(path: Path, vocabulary: Vocabulary, *, kind: str, config: type[C]) -> Artefact[C]:
    """Verify an artefact, its tensors included, and read all but these; raises as `load_artefact` does.

    Whoever serves from one of `Artefact.files` verifies that.
    """
    if not path.exists():
        recover(path)
    try:
        document = json.loads((path / CONFIG).read_bytes())
        tensors = file_checksum(path / TENSORS)
    except FileNotFoundError as error:
        raise ArtefactError(f"{path} is no artefact: {Path(error.filename).name} is missing; train it again") from error
    except ValueError as error:
        raise ArtefactError(f"{path / CONFIG} is truncated or altered ({error}); train it again") from error
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        found = document.get("format") if isinstance(document, dict) else None
        raise ArtefactError(f"{path / CONFIG} has format {found}; this version reads {FORMAT}. Train it again.")
    if document.pop("checksum", None) != _checksum(document):
        raise ArtefactError(f"{path / CONFIG} was altered since it was written; train it again")
    if document["tensors"] != tensors:
        raise ArtefactError(f"{path / TENSORS} is truncated or altered; train it again")
    if document["kind"] != kind:
        raise ArtefactError(f"{path} holds {document['kind']!r}, not {kind!r}")
    vocabulary.require_lineage(document["vocabulary"], f"{kind} at {path}")
    try:
        settings = parse(config, document["config"], str(path / CONFIG))
    except ConfigError as error:
        raise _of_another_version(path, error) from error
    return Artefact(settings, int(document["vocabulary"].partition(":")[0]), document.get("files", {}))


def read_tensors(path: Path) -> dict[str, NDArray[Any]]:
    """The arrays of a safetensors file, in memory; whoever calls has verified it."""
    from safetensors import SafetensorError
    from safetensors.numpy import load

    try:
        return load(path.read_bytes())
    except SafetensorError as error:
        raise _of_another_version(path, error) from error


def write_tensors(path: Path, tensors: Mapping[str, NDArray[Any]]) -> str:
    """Write a safetensors file for `map_tensors`; its checksum."""
    from safetensors.numpy import save_file

    save_file({name: np.ascontiguousarray(tensor) for name, tensor in tensors.items()}, path)
    path.chmod(0o644)  # as every other file; else only who trained it could serve it
    return file_checksum(path)


def map_tensors(path: Path, checksum: str) -> dict[str, NDArray[Any]]:
    """The arrays of a safetensors file, mapped and read-only: processes that serve from it share its pages.

    Raises `ArtefactError` where it is missing or `checksum` is not its own.
    """
    if not path.exists() or file_checksum(path) != checksum:
        state = "is truncated or altered" if path.exists() else "is missing"
        raise ArtefactError(f"{path} {state}; train it again")
    raw = np.memmap(path, np.uint8, "r")
    begin = 8 + int.from_bytes(raw[:8].tobytes(), "little")  # a length, JSON of that length, the arrays' bytes
    found = {}
    for name, about in json.loads(raw[8:begin].tobytes()).items():
        first, last = (begin + offset for offset in about["data_offsets"])
        found[name] = raw[first:last].view(np.ndarray).view(DTYPES[about["dtype"]]).reshape(about["shape"])
    return found


def below(tensors: Mapping[str, NDArray[Any]], prefix: str) -> dict[str, NDArray[Any]]:
    """The tensors whose names begin with `prefix`, named without it."""
    return {name.removeprefix(prefix): values for name, values in tensors.items() if name.startswith(prefix)}


def _of_another_version(path: Path, error: Exception) -> ArtefactError:
    return ArtefactError(f"{path} was written by another version of headwater: {error}. Train it again.")


def _own_files(path: Path) -> set[str]:
    """Names that an artefact in the folder may have written."""
    try:
        document = json.loads((path / CONFIG).read_bytes())
        return {CONFIG, TENSORS, *document.get("files", {})}
    except (OSError, ValueError, AttributeError):  # empty, or damaged: then its other files are not known to be ours
        return {CONFIG, TENSORS}


def _checksum(head: Mapping[str, Any]) -> str:
    return xxhash.xxh3_128_hexdigest(json.dumps(head, sort_keys=True).encode())
