"""Current views folded from the log. Disposable: drop, replay, identical."""
