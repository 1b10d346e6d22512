"""What runs inside jupyter_server: the hub, its HTTP routes, and the server end of the kernels' link."""
