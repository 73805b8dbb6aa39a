"""Every speed the README quotes, measured as a ratio in one run."""
