"""Loggers: copies of a run's record in other formats, by the names of conf/logger/. No torch."""
