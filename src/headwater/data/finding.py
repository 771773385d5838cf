"""One thing that is worth saying about a user's data: how grave, where, what, and what to do next."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Severity = Literal["error", "warning", "note"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One problem or remark.

    Attributes
    ----------
    severity : "error", "warning" or "note"
        An error stops an import; a warning changes what the data can teach; a note is good to know.
    where : str
        File, and row and column where there is one.
    what : str
        What was found there.
    advice : str
        What to do next; empty where nothing needs doing.
    """

    severity: Severity
    where: str
    what: str
    advice: str = ""

    def __str__(self) -> str:
        return f"{self.where}: {self.what}." + (f" {self.advice}." if self.advice else "")
