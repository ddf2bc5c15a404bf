"""The mount, tested with real mounts: each in a process of its own, asked by ordinary programs."""
