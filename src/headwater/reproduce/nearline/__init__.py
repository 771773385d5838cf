"""The multi-scenario nearline paper: its tables out of arms of the bazaar."""
