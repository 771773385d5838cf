"""Paths: user → trigger → item, each hop learned, after the Path-based Deep Network (Li et al., SIGIR 2021)."""
