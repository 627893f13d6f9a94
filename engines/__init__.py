"""What runs a stored graph: one interface, several engines (`engines.base`), each in a folder or file of its own."""
