"""The services: what the command line and the HTTP API both call."""
