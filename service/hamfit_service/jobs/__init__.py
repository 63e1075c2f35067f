"""Jobs: what was asked for, how far it is, and what came of it; kept in a database, run by processes of their own."""
