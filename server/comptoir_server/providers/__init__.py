"""The payment providers: one package each, all behind the `Provider` protocol of `app.ports`."""
