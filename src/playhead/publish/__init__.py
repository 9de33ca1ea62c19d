"""From the parts of a draft to its content: which results readers will see."""
