"""SeReNet family: light fields to volumes with networks that look at digitally refocused views."""
