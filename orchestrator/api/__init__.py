"""The HTTP API: every controller replica serves it, whoever leads.

Reads come from this replica's mirror, with the revision stated; writes are guarded transactions
on what people want (`desired/`), never on what the leader or the agents own.
"""
