"""What the C library does with memory that is given back: keeps it, for processes that ask for the same again."""
import ctypes
import functools
import os

_TRIM_THRESHOLD, _MMAP_MAX = -1, -4  # of <malloc.h>
_SETTINGS = ("MALLOC_MMAP_MAX_", "MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_", "GLIBC_TUNABLES")


@functools.lru_cache(maxsize=None)
def keep_freed_memory() -> bool:
    """Let this process keep all memory it frees; whether it does. For one that trains: each step takes the same again.

    Left to itself glibc returns every block above 32 MB to the system at once, and smaller ones off the top, and the
    system clears each page before it gives it again: for the maps of a batch of 32 that was 169,000 pages a step, a
    quarter of its processor time (docs/benchmarks.md). The peak of the process grows by a fifth: what is kept has gaps.
    Other C libraries, and a user's own setting, are left as they are. See mallopt(3),
    https://man7.org/linux/man-pages/man3/mallopt.3.html.
    """
    library = ctypes.CDLL(None) if os.name == "posix" else None
    if not hasattr(library, "gnu_get_libc_version") or any(name in os.environ for name in _SETTINGS):
        return False
    assert library is not None
    return bool(library.mallopt(_MMAP_MAX, 0) and library.mallopt(_TRIM_THRESHOLD, -1))
