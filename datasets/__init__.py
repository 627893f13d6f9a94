"""Pixels in and out: record sets, verification packs, alignment, the built-in synthetic faces."""
