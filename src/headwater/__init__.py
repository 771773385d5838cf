"""Headwater: the matching stage of a recommender system."""

__version__ = "0.1.0"
