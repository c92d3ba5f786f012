"""`doctor --live`: tries in an account what the project relies on, and deletes what it made.

    transcript   what is recorded of each call: lines of JSON, with a schema number
    redaction    what these lines may say of a call
    recording    what writes them: a listener on every client of a session
    rehearsal    the run of the probes, and the end: everything deleted, and checked

The probes have a module per service, with what each creates and how it is found and deleted:
`queues`, `objects`, `fleets`, `watching` and, for a real machine, `machine`.
"""
