"""What commands and Python callers have done: plans, their execution, outcomes, all as values.

Nothing here prints, but how far a long step is (`progress`, `runs.watch`). What else there is to
say meanwhile, an operation tells its context.
"""
