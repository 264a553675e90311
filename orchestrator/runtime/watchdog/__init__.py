"""The watchdog's program: standard library only, and little of that. See `watchdog.main`."""
