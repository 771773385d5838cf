"""The tables of KEEP (Zhang et al., CIKM 2022), on ratings whose genres are the sub-domains."""
