"""What a measure means: rules, verdicts and the states of alarms. Pure."""
