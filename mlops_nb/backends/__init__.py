"""The outside world: each third party and each place on disk has one home here."""
