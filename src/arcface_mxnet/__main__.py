"""`python -m arcface_mxnet COMMAND ...` is `arcface COMMAND ...`."""
from arcface_mxnet.runtime.commands import main

if __name__ == "__main__":
    main()
