"""What a process compiles: kept on disk between starts, and counted."""

import jax

_SECONDS = '/jax/core/compile/backend_compile_duration'
_MISSES = '/jax/compilation_cache/cache_misses'


class Compiling:
    """Counts from its making on.

    Attributes:
      seconds: spent compiling or reading what was compiled before.
      executables: compiled anew, of those that are kept on disk.
    """

    def __init__(self):
        self.seconds, self.executables = 0.0, 0
        jax.monitoring.register_event_duration_secs_listener(self._took)
        jax.monitoring.register_event_listener(self._happened)

    def _took(self, event: str, seconds: float, **_) -> None:
        self.seconds += seconds if event == _SECONDS else 0.0

    def _happened(self, event: str, **_) -> None:
        self.executables += event == _MISSES


def keep(folder: str) -> None:
    """Keeps executables in a folder, and takes those that are there."""
    jax.config.update('jax_compilation_cache_dir', folder)
    jax.config.update('jax_persistent_cache_min_compile_time_secs', 0.0)
    jax.config.update('jax_persistent_cache_min_entry_size_bytes', -1)
