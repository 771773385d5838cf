"""The command line: one Typer app; each verb calls one public function."""

from headwater.cli.app import app, main

__all__ = ["app", "main"]
