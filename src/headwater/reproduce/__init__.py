"""Papers' tables again: experiments as small jobs, ours beside what was published. Nothing imports this room."""
