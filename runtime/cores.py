"""How many processors there are to work with; without MXNet, so that a light worker process may ask."""
import os


def available_cores() -> int:
    """The processors this process may use (its affinity, not the machine's total)."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
