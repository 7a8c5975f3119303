"""What comes before a launch: presets, the configuration's schema, the pre-flight numbers, nanoGPT's configs."""

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy import select
from starlette.responses import Response
from typing_extensions import TypedDict

from app import datasets, forks, launches, nanogpt, preflight, runs, shapes, workers
from app.api.body import Json, JsonResponse
from app.api.deps import Db, Now
from app.api.problems import problems
from app.contract import ids
from app.contract.config import RunConfig
from app.contract.dataset import Manifest
from app.contract.presets import PRESETS
from app.db import Tx
from app.errors import FieldError, Invalid, NotFound
from app.launches import Launch
from app.routing import api_router
from app.tables import Dataset, Worker

router = api_router(tag="launching")


class PresetJson(TypedDict):
    key: str
    title: str
    summary: str
    origin: str
    config: dict[str, Any]


class PresetList(TypedDict):
    presets: list[PresetJson]


class Origin(forks.Beginning):
    """A fork that might be made."""

    run: str = Field(pattern=f"^{ids.PATTERN}$", description="The run it would start from (r-0001).")


class Plan(Launch):
    """A launch, or a fork, that nobody has asked for yet."""

    fork: Origin | None = None


class Pasted(BaseModel):
    model_config = ConfigDict(extra="forbid")
    text: str = Field(min_length=1, max_length=nanogpt.MOST_CHARACTERS, description="A config file or a command line.")


class Remark(TypedDict):
    key: str
    what: str


class Read(TypedDict):
    config: dict[str, Any]
    report: list[Remark]


@router.get("/presets", response_model=PresetList, summary="List presets")
def presets() -> Response:
    """Starting points with their whole configuration and where the numbers come from."""
    shown = [{**one._asdict(), "config": one.config.model_dump(mode="json")} for one in PRESETS.values()]
    return JsonResponse({"presets": shown})


@router.get("/schema", response_model=dict[str, Any], summary="The configuration's JSON schema")
def schema() -> Response:
    """Every field of a run's configuration with title, unit, usual range, bounds, help and default."""
    return JsonResponse(RunConfig.model_json_schema())


@router.post(
    "/preflight", response_model=dict[str, Any], summary="Numbers before the launch", responses=problems(Invalid),
    openapi_extra={"x-body": {"preset": "tiny", "config": {"optim": {"weight_decay": 0.3}}}},
)  # fmt: skip
def check(launch: Annotated[Plan, Json(Plan)], db: Db, now: Now) -> Response:
    """The body of a launch; nothing is stored. With `fork`, `config` is what differs from that run's, and tokens, time
    and decay are those of the steps that are left. Parameters, tokens, epochs and what repeated tokens cost, memory by
    part and whether it fits the workers' devices, time at the last measured speed, checkpoint size, and of weight decay:
    which tensors decay (`decayed`), effective decay and its timescale, the curves of the whole run (`decay_outlook`),
    three published rules for λ with how far they are apart (`decay_priors`), and warnings such as "this λ cannot matter
    in this run".
    """
    with db.read() as tx:
        config, first_step = _planned(tx, launch)
        dataset = _dataset(tx, config.data.dataset)
        manifest = Manifest.model_validate(dataset.manifest) if dataset is not None and dataset.manifest else None
        speeds, devices = _speeds(tx, launch.worker), workers.devices(tx, launch.worker)
        most = workers.most_devices(tx, launch.worker, config.system.device, now=now)
    numbers = preflight.preflight(config, manifest, speeds, devices, first_step, most)
    shown = preflight.as_json(numbers)
    shown = {name: shapes.countable(value) if type(value) is int else value for name, value in shown.items()}
    return JsonResponse({**shown, "config": config.model_dump(mode="json")})


def _planned(tx: Tx, plan: Plan) -> tuple[RunConfig, int]:
    """(the whole configuration, the step it starts at)."""
    if plan.fork is None:
        return launches.resolve_config(plan), 0
    try:
        parent = runs.get(tx, plan.fork.run)
    except NotFound as error:
        raise Invalid([FieldError("/fork/run", error.detail)]) from None
    checkpoint, config = forks.resolve(tx, parent, plan.fork, plan.config)
    return config, checkpoint.step


def _dataset(tx: Tx, text: str) -> Dataset | None:
    """The dataset if it is known; a launch would refuse an unknown one, numbers can do without."""
    try:
        return datasets.get(tx, datasets.BUILTIN if text == "builtin" else text)
    except NotFound:
        return None


def _speeds(tx: Tx, worker: str | None) -> dict[str, float]:
    """The best speed for each shape, of the worker asked for or of any."""
    best: dict[str, float] = {}
    for row in tx.session.scalars(select(Worker)):
        if worker is None or worker == ids.show("worker", row.id):
            best |= {shape: max(speed, best.get(shape, 0.0)) for shape, speed in row.speeds.items()}
    return best


@router.post(
    "/nanogpt", response_model=Read, summary="Read a nanoGPT config", responses=problems(Invalid),
    openapi_extra={"x-body": {"text": "n_layer = 6\nlearning_rate = 1e-3\nmax_iters = 5000"}},
)  # fmt: skip
def read(pasted: Annotated[Pasted, Json(Pasted)]) -> Response:
    """A config file or command line of nanoGPT becomes a part of our configuration, with a report of what became of
    each setting. It is parsed, never executed.
    """
    config, report = nanogpt.parse(pasted.text)
    return JsonResponse({"config": config, "report": [{"key": key, "what": what} for key, what in report]})
