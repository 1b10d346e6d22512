"""What runs in the user's kernel: it makes events, shows them, and hands them to the server."""
