"""Clusters of faces by linkage: a graph network that predicts links (CVPR 2019), DBSCAN and a threshold beside it."""
