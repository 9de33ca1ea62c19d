"""A message from its delivery to its ack: receive, claim, run, bind, store, record, publish the children."""
