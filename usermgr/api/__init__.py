"""The HTTP face: the services of the command line over a small API."""
