"""The paper again: its figures and tables from our own graphs, runs and protocols, beside its numbers.

Every number of the paper stands in evaluation/paper.json, by table and row. Each figure or table is a function
registered by name; `python recognition/reproduce.py NAME` runs it.
"""
