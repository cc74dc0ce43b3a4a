"""How far a target has come: cursors, windows, ledger records, state stores."""
