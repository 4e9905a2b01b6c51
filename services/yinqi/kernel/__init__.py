"""Words that every part of the house shares: money, dates, identifiers, errors. No I/O, no framework."""
