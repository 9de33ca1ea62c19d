"""From a request for a replay to its published messages: target, selection, plan, listing and publishing."""
