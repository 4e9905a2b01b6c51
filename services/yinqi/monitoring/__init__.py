"""The monitoring service (监控): screens payments before release, watches every feed, alerts people, serves the console."""
