"""The kinds of experiment: what each claims, and from which difference in validation loss the claim stands or falls. Pure.

A difference is the experiment's loss less its parent's. The claim is supported where the whole interval lies below −`gain`,
refuted where all of it lies above −`nothing`; between the two it is still open.
"""

from typing import NamedTuple

from app.i18n import N_

RELEVANT = 0.005
"""nats: smaller differences of a final validation loss count as none in practice."""


class Kind(NamedTuple):
    key: str
    title: str
    claim: str  #: what an outcome supports or refutes
    gain: float = RELEVANT  #: nats
    nothing: float = RELEVANT


KINDS = {
    kind.key: kind
    for kind in (
        # science: a drop of .05 is the rate's noise, less than .02 is data or capacity; between them both may have a part
        Kind(
            "anneal_probe",
            N_("Anneal probe"),
            N_("The loss stands on the noise of the learning rate: taking the rate to zero brings it down."),
            0.05,
            0.02,
        ),
        Kind("lr_half", N_("Half the learning rate"), N_("The learning rate is too high: half of it does better.")),
        Kind(
            "lr_double", N_("Twice the learning rate"), N_("The learning rate is too low: twice as much does better.")
        ),
        Kind("more_data", N_("More text"), N_("The data limit it: with more of them it gets lower.")),
        Kind(
            "larger_model",
            N_("A larger model at the same cost"),
            N_("The model limits it: twice the parameters on half the tokens get lower."),
        ),
        Kind("decay_sweep", N_("Sweep of λ"), N_("Another weight decay does better than this run's.")),
        Kind("longer_eval", N_("Longer evaluation"), N_("More windows make an evaluation quiet enough.")),
        Kind(
            "fixed_windows",
            N_("The same windows each time"),
            N_("Most of the scatter between evaluations is the choice of windows."),
        ),
        Kind("fork_best", N_("On from the best checkpoint"), N_("From its best checkpoint it gets lower than it got.")),
    )
}
