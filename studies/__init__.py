"""Where Ray Tune, Optuna and MLflow meet: studies of the stages, searched, confirmed and reported."""

import optuna

optuna.logging.set_verbosity(optuna.logging.ERROR)
