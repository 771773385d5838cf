"""The immutable thing that is trained, promoted, served and rolled back as one."""

from headwater.release.manifest import Manifest, Merge, Part, Window
from headwater.release.release import Release, build, current, listed, load, promote, read_manifest, rollback

__all__ = [
    "Manifest",
    "Merge",
    "Part",
    "Release",
    "Window",
    "build",
    "current",
    "listed",
    "load",
    "promote",
    "read_manifest",
    "rollback",
]
