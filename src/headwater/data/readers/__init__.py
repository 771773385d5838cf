"""Readers of published data sets, one file a publisher: from files as they were published to a `Dataset`."""
