"""Flow rules: match, priority, actions."""
