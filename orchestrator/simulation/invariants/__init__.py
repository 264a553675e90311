"""What must hold of a simulated cluster at every revision: small checkers, one for each promise.

Their numbers, I1 to I12, are those under which the promises are argued about.
"""
