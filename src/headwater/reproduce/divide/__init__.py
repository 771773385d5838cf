"""The tables of Divide (Zhang et al., WWW 2023)."""
