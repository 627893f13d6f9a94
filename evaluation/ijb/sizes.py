"""How many images, templates and pairs the published lists hold, so that a cut list does not pass for the whole one.

Sources: original_mxnet_facts.md, section 6.2; paper_tables.md, section 3.4. IJB-B's galleries (931 and 914) are known
from memory only and therefore not compared.
"""
from typing import Dict, Mapping, NamedTuple

PUBLISHED: Dict[str, Dict[str, int]] = {
    "ijbb": {"images": 227_630, "templates": 12_115, "pairs": 8_010_270, "genuine pairs": 10_270,
             "probe templates": 10_270},
    "ijbc": {"images": 469_375, "templates": 23_124, "pairs": 15_658_489, "genuine pairs": 19_557,
             "probe templates": 19_593, "templates of gallery 1": 1_772, "templates of gallery 2": 1_759},
}


class Lists(NamedTuple):
    """The lists of a target and, in words, how their counts differ from the published ones ("" where they do not)."""

    target: str
    differences: str

    @property
    def published(self) -> bool:
        """Whether every known count is the published one."""
        return not self.differences

    @property
    def title(self) -> str:
        """The target as tables name it."""
        return self.target if self.published else f"{self.target} (not the published lists)"


def compare(target: str, found: Mapping[str, int]) -> Lists:
    """Set the counts of these lists beside the published ones of a target."""
    known = PUBLISHED[target]
    return Lists(target, ", ".join(f"{count:,} {name} instead of {known[name]:,}" for name, count in found.items()
                                   if count != known.get(name, count)))
