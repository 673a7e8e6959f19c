"""Looking after a finished or a running study: is it sound, how far is it, what did it cost."""
