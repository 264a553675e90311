"""Where to put it: a pure function of the requests and the nodes."""
