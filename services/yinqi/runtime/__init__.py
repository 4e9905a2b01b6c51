"""What every service stands on: settings, telemetry, database, feed, gRPC server and client, supervisor."""
