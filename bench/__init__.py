"""The benchmark suite: PyNST against its peers, in a form that a stranger can rerun.

    python -m bench                       the quick set, some three minutes on two quiet cores
    python -m bench --full                everything
    python -m bench --backend cuda        the same questions on a CUDA device
    python -m bench compare A.json B.json whether B is slower or larger than A

`bench/README.md` says how to read the figures, how to add a case, and what is not measured.
"""
