"""What commands and Python callers have done: plans, their execution, outcomes, all as values.

Nothing here prints. What there is to say meanwhile, an operation tells its context.
"""
