"""Channels whose user and item meet in an inner product only: a user tower or several interests, one file each."""
