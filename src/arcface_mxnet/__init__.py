"""ArcFace, the paper itself: losses, networks, record files, recipes and benchmarks.

The folders of the repository's root are this package's parts (`datasets/records.py` is
`arcface_mxnet.datasets.records`); the links beside this file say so to Python, to type checkers and to editors.
"""
from arcface_mxnet.runtime.errors import take_over

take_over()
