"""MegaFace Challenge 1: identification and verification of FaceScrub probes among up to a million distractors."""
