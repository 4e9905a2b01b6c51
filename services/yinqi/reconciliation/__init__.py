"""Reconciliation (对账): pairs what our books and the bank say, and names what is left."""
