"""The local socket of whoever holds an account's state, and its client.

There is one writer an account: the daemon of a mount, or a command that runs alone. A command that finds
another at work asks it through the socket, follows its progress, and gets its result; so ``sync``,
``verify`` and the rest do the same whether something is mounted or not.
"""
