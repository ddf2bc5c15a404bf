"""End to end: the installed command, a local iCloud in a process of its own, real mounts, real programs."""
