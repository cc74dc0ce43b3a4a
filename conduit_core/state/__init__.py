"""What a load covered and how far a target has come: cursors, windows, ledger records, state stores."""
