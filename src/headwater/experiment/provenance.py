"""What a figure came from: settings, seed, commit and machine."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import subprocess
import sys
from pathlib import Path
from typing import TypeVar

from headwater.config import Settings
from headwater.recipe import Recipe
from headwater.retrieval.base import ChannelSettings

CHECKOUT = Path(__file__).parents[3]
"""Where the package is run from, if that is a checkout."""

C = TypeVar("C", bound=Settings)


def config_hash(recipe: Recipe, channel: ChannelSettings) -> str:
    """The first 12 digits of the sha256 of all that decides a row's figures but data, seed and code.

    That is the channel's settings, how the data are cut, and what is measured, each as far as it is not the default:
    a setting that is added later, with a default that changes nothing, leaves old rows what they were. The other
    channels of the recipe, its formatting, and whether channels are fitted again as well, do not matter.
    """
    own = with_seed(channel, 0).model_dump(mode="json", exclude_defaults=True)
    plain = {
        "channel": {"kind": channel.kind, "name": channel.name, **own},
        "split": recipe.split.model_dump(mode="json", exclude_defaults=True),
        "evaluate": recipe.evaluate.model_dump(mode="json", exclude={"refit"}, exclude_defaults=True),
    }
    return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()[:12]


def seed_of(channel: Settings) -> int | None:
    """The seed of a channel that draws at random while it is fitted, of its `training` or its own; else None."""
    training = getattr(channel, "training", None)
    return getattr(training if isinstance(training, Settings) else channel, "seed", None)


def with_seed(channel: C, seed: int) -> C:
    """The same settings under another seed; unchanged where there is none."""
    if seed_of(channel) is None:
        return channel
    training = getattr(channel, "training", None)
    if isinstance(training, Settings):
        return channel.model_copy(update={"training": training.model_copy(update={"seed": seed})})
    return channel.model_copy(update={"seed": seed})


def commit_id(root: Path = CHECKOUT) -> str:
    """The checkout's commit, with `+` where its `src` has uncommitted changes.

    A copied tree without its history says `unknown`, unless the environment's `HEADWATER_COMMIT` says what it is a
    copy of; an installed package says `release`.
    """
    if os.environ.get("HEADWATER_COMMIT"):
        return os.environ["HEADWATER_COMMIT"]
    if not (root / "pyproject.toml").exists():
        return "release"
    try:
        head = _git(root, "rev-parse", "--short=12", "HEAD")
        return head + ("+" if _git(root, "status", "--porcelain", "--untracked-files=no", "--", "src") else "")
    except (FileNotFoundError, subprocess.CalledProcessError):  # no git here, or no history
        return "unknown"


def _git(root: Path, *words: str) -> str:
    return subprocess.run(["git", *words], cwd=root, capture_output=True, text=True, check=True).stdout.strip()


def machine() -> str:
    """Processor, cores and Python, and the GPU where torch is in use and sees one."""
    said = f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        said += f", {torch.cuda.get_device_name()}"
    return said
