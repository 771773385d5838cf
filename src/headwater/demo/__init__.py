"""The tour: fetch, train, compare, then play the loop live and draw a report."""

from headwater.demo.play import play

__all__ = ["play"]
