"""What a file of conf/report may say, and reading it."""
