"""What SQL systems share: window predicates, the ledger's SQL, actions as steps, the publish walk."""
