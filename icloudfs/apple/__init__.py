"""Apple's side of the wire: endpoints, sign-in, session, CloudKit calls, records, checksums."""
