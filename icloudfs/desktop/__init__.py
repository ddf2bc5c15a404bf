"""What file managers show of photos: small pictures, without a byte of the originals."""
