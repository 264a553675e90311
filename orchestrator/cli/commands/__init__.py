"""The commands of `orc`, a file for each."""
