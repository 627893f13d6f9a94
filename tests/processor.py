"""What this machine's processor is and has, by Linux's /proc/cpuinfo: some tests need what not every one has."""
import re
from pathlib import Path
from typing import Dict

import pytest

_INFO = Path("/proc/cpuinfo")
TOLD: Dict[str, str] = dict(re.findall(r"^(vendor_id|cpu family|flags)\s*:\s*(.*)$",
                                       _INFO.read_text(encoding="utf-8") if _INFO.exists() else "", re.MULTILINE))
FLAGS = frozenset(TOLD.get("flags", "").split())
HAS_AVX512 = {"avx512f", "avx512bw"} <= FLAGS
mxnet_bfloat16 = pytest.mark.skipif(not HAS_AVX512, reason="oneDNN in MXNet has no bfloat16 without AVX-512")
