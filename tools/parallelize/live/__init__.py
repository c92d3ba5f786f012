"""`doctor --live`: tries on an account what the project relies on, and deletes what it made.

    transcript   the lines that are written down of each call: JSON, with a schema number
    redaction    what of a call they may say
    recording    who writes them: a listener on every client of a session
    rehearsal    the run of the probes, and the end: everything deleted, and looked for

The probes, a module for each service, each with what it makes and how that is found and deleted:
`queues`, `objects`, `fleets`, `watching` and, for a real machine, `machine`.
"""
