"""The study: the only truth about trials, with its samplers, schedulers and storage."""
