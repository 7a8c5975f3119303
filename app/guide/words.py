"""What the guide says in one language; every language has the same fields and the same claims."""

from typing import NamedTuple


class Words(NamedTuple):
    """Sentences only: verdicts, sources, numbers of tables and experiments stand once in claims.py and models.py."""

    code: str  #: BCP 47
    name: str  #: the language in itself
    direction: str  #: ltr | rtl
    title: str
    lead: str
    rule_title: str
    rule: tuple[str, ...]
    parameters_title: str
    parameters: tuple[str, ...]
    matters_title: str
    matters: tuple[str, ...]
    figures_title: str
    no_runs: str
    built_in: str
    rms_caption: str
    loss_caption: str
    models_title: str
    models_columns: tuple[str, ...]
    not_published: str
    not_stated: str
    claims_title: str
    claims_lead: str
    decay_claims: str
    run_claims: str
    say: str
    sources: str
    try_it: str
    verdicts: dict[str, str]  #: verdict → its word
    claims: dict[str, tuple[str, str]]  #: W1 … P24 → (the claim, what is right instead)
