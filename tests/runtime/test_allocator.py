"""Memory that a training process frees: kept for the next step, unless the user has said otherwise."""
import os
import platform
import subprocess
import sys

import pytest

BLOCK = 48 << 20
SCRIPT = f"""
import resource, sys
from arcface_mxnet.runtime.allocator import keep_freed_memory
kept = keep_freed_memory() if sys.argv[1] == "keep" else None

def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt

b"x" * {BLOCK}
before = faults()
for _ in range(5):
    b"x" * {BLOCK}
print(kept, faults() - before)
"""


def pages(word, **environment):
    own = {name: value for name, value in os.environ.items() if not name.startswith(("MALLOC_", "GLIBC_"))}
    done = subprocess.run([sys.executable, "-c", SCRIPT, word], capture_output=True, text=True, check=True,
                          env={**own, **environment})
    kept, count = done.stdout.split()
    return kept == "True", int(count)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="for the GNU C library")
def test_freed_memory_is_taken_again_without_asking_the_system():
    kept, count = pages("keep")
    assert kept and count < 100 <= pages("leave")[1]


@pytest.mark.parametrize("name", ["MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_"])
def test_a_users_setting_stays(name):
    assert not pages("keep", **{name: "1000000"})[0]
