"""The suite on one machine: all services and the sandbox bank, and the demo that pays through them."""
