"""What to do: pure functions from a snapshot and a time to a plan.

`plan` runs small planners in turn over each workload's `Draft`, each seeing the instances as
the earlier ones would leave them; then all vacant slots go to the scheduler in one batch.
"""
