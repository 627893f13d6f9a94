"""The paper again: its figures and tables from our own graphs, runs and protocols, beside its numbers.

paper.json holds every number of the paper, by table and row. Each figure or table is a function registered by name;
`python recognition/reproduce.py NAME` runs it.
"""
