"""Executors: they run trials somewhere, and know nothing of studies."""
