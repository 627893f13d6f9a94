"""How image features are made comparable before pooling: N0/N1, D0/D1, F0/F1/F2 (paper_tables.md, section 3.5)."""
import re
from dataclasses import dataclass
from typing import Optional

from arcface_mxnet.evaluation.vectors import normalise
from arcface_mxnet.runtime.errors import InputError

import numpy as np

PAPER_MODE, LATER_MODE = "N0D0F0", "N1D1F2"
"""The paper's own mode (Table 7) and the one most later tables use."""


@dataclass(frozen=True)
class Mode:
    """`keep_norm` N1, else each image feature is L2-normalised (N0); `detector` D1: times the detector's score;
    `flip` F0: the image alone, F1: image and mirror image joined, F2: their sum.
    """

    keep_norm: bool
    detector: bool
    flip: int

    @classmethod
    def parse(cls, text: str) -> "Mode":
        """Read "N1D1F2" and the like; raises InputError."""
        found = re.fullmatch(r"N([01])D([01])F([012])", text)
        if not found:
            raise InputError(f"--mode {text}: expected N0 or N1, D0 or D1, F0, F1 or F2, for example {PAPER_MODE}")
        return cls(found[1] == "1", found[2] == "1", int(found[3]))

    @property
    def needs_flipped(self) -> bool:
        """Whether the mirror images' features are needed."""
        return self.flip > 0

    def apply(self, features: np.ndarray, flipped: Optional[np.ndarray], scores: Optional[np.ndarray]) -> np.ndarray:
        """Image features (n, d) and, as the mode asks, (n, d) of the mirror images and (n,) detector scores: float32.

        (n, d), or (n, 2 d) for F1. In the scripts' order: flip, norm, detector score.
        """
        made = np.array(features, np.float32)
        if self.flip and flipped is None:
            raise InputError(f"F{self.flip} needs --flipped-features, the features of the mirror images")
        if self.flip == 1:
            made = np.concatenate([made, np.asarray(flipped, np.float32)], axis=1)
        elif self.flip == 2:
            made += np.asarray(flipped, np.float32)
        if not self.keep_norm:
            normalise(made, copy=False)
        if self.detector:
            if scores is None:
                raise InputError("D1 needs detector scores: the file name_5pts_score.txt of the meta folder")
            made *= np.asarray(scores, np.float32)[:, None]
        return made
