"""From NumPy to the program: symbolic arrays record what NumPy is asked, `lower` says what that means."""
