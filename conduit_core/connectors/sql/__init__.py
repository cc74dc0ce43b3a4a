"""What SQL systems share: window predicates, the ledger's SQL, the publish walk."""
