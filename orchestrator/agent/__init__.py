"""A node's shell: observe, plan, act, report. Its step planner is pure.

Workloads never depend on the store: an agent that is cut off keeps what runs running.
"""
