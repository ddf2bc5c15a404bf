"""Trying icloudfs without an Apple account: a local iCloud, a sign-in, a mount, a check of all of it."""
