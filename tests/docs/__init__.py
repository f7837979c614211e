"""What the pages for people promise is what the program does: every command, message, link and notebook."""
