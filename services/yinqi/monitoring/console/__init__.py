"""The console (控制台): pages for finance staff, read from the services over gRPC, served beside the RPCs."""
