"""A pretend bank on the other side of the wire; it shares no code with the rest of yinqi."""
