"""The closures that are compared: PyNST's own, and the same computation by each of its peers.

`table` lists them; every other file holds one stack and imports it at its top. A process imports
only the files of the row that it measures, so that its memory is that row's alone.
"""
