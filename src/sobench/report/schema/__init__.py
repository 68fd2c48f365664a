"""The schema of the files of conf/report, and their reader."""
