"""The user's online history."""

from headwater.profile.history import History, Profile

__all__ = ["History", "Profile"]
