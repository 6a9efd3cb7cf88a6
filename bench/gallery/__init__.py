"""Whole pictures, judged: settings of PyNST against each other, and against other programs.

`measures` looks at the pixels of a picture, `judge` adds the losses; `pictures` and `programs` are
the two parts of the benchmark, `page` lets a person compare without knowing which is which.
"""
