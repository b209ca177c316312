"""`make demo`: a whole site on this machine, from blueprint to extracted files, as a user would type it."""
