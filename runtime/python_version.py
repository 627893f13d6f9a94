"""Which Pythons run MXNet 1.9.1; standard library only, so that any Python can be told so in one sentence."""
from arcface_mxnet.runtime.errors import InputError

OLDEST, NEWEST = (3, 8), (3, 12)


def check_python(version: "tuple[int, int]") -> None:
    """Raise InputError with one clear sentence on a (major, minor) that MXNet 1.9.1 cannot run on."""
    if not OLDEST <= version <= NEWEST:
        raise InputError(f"Python {version[0]}.{version[1]} cannot run MXNet 1.9.1; use Python 3.8 to 3.12, "
                         "for example 'make setup PYTHON=python3.11'")
