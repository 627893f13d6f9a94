"""Procedural faces: an identity code and a nuisance are turned into pixels; nobody real is depicted."""
