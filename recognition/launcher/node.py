"""A scheduler or server of MXNet's parameter server: `python -m recognition.launcher.node server`; ends with the job.

MXNet would run it inside its own import, where the optimizer that workers send cannot be unpickled, so its role is set
after the import.
"""
import argparse
import os
import resource
import sys
from typing import Optional, Sequence

from arcface_mxnet.recognition.engine import server_optimizer  # noqa: F401  (the optimizer the workers send)
from arcface_mxnet.runtime.errors import run_command
from arcface_mxnet.runtime.mx import mx

ROLES = ("scheduler", "server")


def main(argv: Optional[Sequence[str]] = None) -> int:
    """Serve until the workers are done."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter,
                                     epilog="example: started by python -m arcface_mxnet.recognition.launch; "
                                            "DMLC_* say where")
    parser.add_argument("role", choices=ROLES)
    role = os.environ["DMLC_ROLE"] = parser.parse_args(argv).role
    mx.kvstore.kvstore_server.KVStoreServer(mx.kv.create("dist")).run()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2.0 ** 20
    sys.stdout.write(f"{role} done, peak memory {peak:.2f} GB\n")
    return 0


if __name__ == "__main__":
    run_command(main)
