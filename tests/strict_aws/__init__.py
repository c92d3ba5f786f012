"""AWS's refusals, in front of moto: what AWS does not take, moto must not take either.

A rule is a few lines with the address of the document it comes from (`rules/`). The layer sees each
request before moto does and each answer after it (`layer.py`), in the process of a test
(`plugin.py`) and in the local cloud (`server.py`).

Only the project's own calls are held to it: what a test itself looks up is the truth, at once.

    python -m tests.strict_aws            # the rules, and what each has found
    python -m tests.strict_aws regions    # which default types the regions have
"""
