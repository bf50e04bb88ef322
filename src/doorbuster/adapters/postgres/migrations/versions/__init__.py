"""One file per revision; each names the SQL files it executes, in order."""
