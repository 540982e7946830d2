"""One file per experiment: a dataclass of settings and a `run()` that leaves a complete run folder."""
