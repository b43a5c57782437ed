"""One change of one thing each: how it is looked at, done, tried and undone."""
