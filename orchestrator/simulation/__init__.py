"""The whole product in one process and in virtual time, with everything going wrong by a seed."""
