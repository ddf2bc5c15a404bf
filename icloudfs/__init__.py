"""An iCloud Photos library, mounted as a folder."""

__version__ = "0.1.0"
