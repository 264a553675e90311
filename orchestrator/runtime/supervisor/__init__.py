"""The supervisor's program: standard library only, and little of that. See `supervisor.main`."""
