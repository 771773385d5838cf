"""The offline experiments of the Path-based Deep Network (Li et al., SIGIR 2021, section 6)."""
