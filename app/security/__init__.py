"""Who may do what: one gate in front of every route, tokens for programs, sessions for browsers."""
