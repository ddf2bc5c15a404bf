"""Units for systemd (``units/``, which ``systemd/`` at the top links to), and what puts them in place."""
