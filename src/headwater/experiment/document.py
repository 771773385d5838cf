"""JSON documents on disk: whole or not there."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from headwater.errors import ArtefactError


def write_document(path: Path, plain: dict[str, Any]) -> None:
    """Write `plain` to `path`, whole or not at all; one writer at a time."""
    path.parent.mkdir(parents=True, exist_ok=True)
    staging = path.with_suffix(".partial")
    staging.write_text(json.dumps(plain, indent=2, sort_keys=True, allow_nan=False) + "\n", encoding="utf-8")
    staging.replace(path)


def read_document(path: Path) -> dict[str, Any]:
    """What `write_document` wrote; empty where there is none. Raises `ArtefactError` where it is no such document."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ArtefactError(
            f"{path} is no JSON document ({error}); restore it, or move it away to begin anew"
        ) from error
    if not isinstance(found, dict):
        raise ArtefactError(f"{path} holds no JSON object; restore it, or move it away to begin anew")
    return found
