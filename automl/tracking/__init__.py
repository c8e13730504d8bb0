"""Trackers: they project a study into somebody else's store."""
