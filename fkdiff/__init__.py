"""fkdiff."""
