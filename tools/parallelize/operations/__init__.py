"""What commands and Python callers have done: plans, their execution, outcomes, all as values.

Nothing here prints except the progress of a long step (`progress`, `runs.watch`). An operation
reports everything else through its context.
"""
