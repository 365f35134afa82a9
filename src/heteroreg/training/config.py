"""The configuration of a training."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import yaml
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic.functional_validators import ModelWrapValidatorHandler  # at the top of pydantic only in newer ones

from heteroreg.data.samples.intensity import Alignment, Intensity, WorkingSpacing
from heteroreg.methods import METHODS, NETWORKS, Method, find_method, find_network, from_outside
from heteroreg.system.errors import UserError
from heteroreg.system.limits import MAX_VOXELS, max_voxels
from heteroreg.system.text import read_yaml

if TYPE_CHECKING:
    from heteroreg.data.samples.preparation import Preparation

SCHEMA_VERSION = 1

OPTIONS = "method_options"

Share = Annotated[float, Field(ge=0, le=1)]


class Section(BaseModel):
    """A section of the configuration: no unknown keys, no changes after it is made."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Config(Section):
    """Everything that determines a training run.

    `None` stands for a value that is found from the cohort; `config.yaml` of a run holds the value found. Settings
    that are not given have the defaults of the method.

    Examples:
        >>> config = Config(method="ncc", steps=200, method_options={"window": 7})
        >>> config.smoothness, config.method_options
        (0.3, {'window': 7})
    """

    schema_version: int = Field(SCHEMA_VERSION, ge=1, le=SCHEMA_VERSION)
    method: str = Field("hetero", description="loss to minimise; `heteroreg methods` lists all")
    network: str = Field("pyramid", description="the displacement estimator; `heteroreg methods` lists all")
    method_options: dict[str, Any] = Field(
        default_factory=dict, description="options of the method itself, such as the window of ncc"
    )
    dims: Literal[2, 3] | None = Field(
        None, description="2: slices; 3: volumes; by default 2 for stacks of thick slices"
    )
    seed: int = Field(0, ge=0, lt=2**63, description="seed of everything that is random")

    steps: int = Field(3500, ge=1, description="number of updates")
    batch_size: int | None = Field(
        None, ge=1, description="pairs per update, over all processes; by default 8 slices or 2 volumes"
    )
    accumulate: int = Field(1, ge=1, description="number of parts that a batch is split into, to save memory")
    learning_rate: float | None = Field(
        None,
        gt=0,
        description="highest learning rate; by default that of the network and dimension",
    )
    schedule: Literal["one-cycle", "constant", "polynomial"] = Field(
        "one-cycle", description="course of the learning rate"
    )
    clip: float | None = Field(1.0, gt=0, description="largest norm of the gradient; null: no clipping")
    precision: Literal["auto", "32-true", "bf16-mixed"] = Field(
        "auto", description="32-true or bf16-mixed; auto: bf16-mixed if the device is faster with it"
    )
    compile: bool = Field(False, description="compile the networks (torch.compile): for GPUs, slower on CPUs")
    head_sd: float = Field(1e-2, gt=0, description="initial weights of the last layer, their SD; 1e-5 in the paper")
    int_steps: int = Field(7, ge=0, le=32, description="squarings that integrate the velocity")
    kernel: float | None = Field(
        None,
        ge=0,
        le=16,
        description="SD of the Gaussian that smooths the velocity, in its voxels; by default 1 for `pyramid` in "
        "3D, otherwise 0",
    )
    passes: int = Field(
        1, ge=1, le=16, description="passes of `pyramid` through its levels; each begins where the one before ended"
    )
    augment: bool = Field(True, description="random flips and exchanges of equal axes")
    occlusions: float = Field(
        0.0,
        ge=0,
        le=16,
        description="mean number of patches laid over each image for the network, not the loss",
    )

    smoothness: float = Field(0.01, ge=0, description="λ, the weight of ‖∇v‖²")
    gamma: float = Field(0.5, ge=0, description="γ, the confidence in the noise estimate")
    beta: float = Field(0.5, ge=0, le=1, description="β of the variance loss")
    alpha: float | None = Field(
        None,
        gt=0,
        description="α, the weight of the uncertainty penalty (hetero-z, sigma-z); by default 0.5 % of the data "
        "term of the images as they are",
    )
    correlation: float = Field(
        0.0,
        ge=0,
        le=100,
        description="correlation length of errors in voxels of the velocity, for methods with uncertainty; "
        "0: independent, as published",
    )
    warm_start: Share = Field(0.0, description="share of the steps, at the start, in which every weight is 1")
    variance_alone: Share = Field(
        0.0, description="share of the steps, after the warm start, in which only the variance learns"
    )

    size: tuple[int, ...] | None = Field(None, description="voxels of a training sample along each axis")
    spacing: WorkingSpacing = Field(
        None,
        description="working spacing in mm, the cohort's median by default; image: each pair's own",
    )
    intensity: Intensity = Field("percentile", description="how intensities are scaled to [0, 1]")
    initial: Alignment = Field(
        "grid", description="initial alignment: grid (world coordinates), centre, mass, rigid, or affine"
    )
    centre_label: int | None = Field(None, description="label to centre the crop on; by default the image centre")

    log_every: int = Field(10, ge=1, description="steps between rows of metrics.csv")
    validate_every: int | None = Field(None, ge=1, description="steps between validations; by default a tenth")
    checkpoint_every: int | None = Field(
        None, ge=1, description="steps between checkpoints; as validate_every by default"
    )

    init: str | None = Field(
        None, description="a run, or phantom (the bundled model), whose weights the training begins with"
    )
    cohort: str | None = Field(None, description="the cohort that the run was trained on")

    @field_validator("method")
    @classmethod
    def _is_method(cls, name: str) -> str:
        # What is not in the table is imported only where the caller gives it: this may be somebody else's file.
        return name if from_outside(name) else _known(find_method, name)

    @field_validator("network")
    @classmethod
    def _is_network(cls, name: str) -> str:
        return name if from_outside(name) else _known(find_network, name)

    @model_validator(mode="wrap")
    @classmethod
    def _with_defaults_of_method(
        cls, settings: Any, handler: ModelWrapValidatorHandler[Config], info: ValidationInfo
    ) -> Config:
        """Fill in the defaults of the method, unless the settings are those of a run, which are complete."""
        context = info.context or {}
        if context.get("complete") or not isinstance(settings, Mapping):
            return handler(settings)
        name = settings.get("method", cls.model_fields["method"].default)
        method = context.get("method") or (METHODS.get(name) if isinstance(name, str) else None)
        config = handler({**(method.settings() if method else {}), **settings})
        config.model_fields_set.intersection_update(settings)
        return config

    @model_validator(mode="after")
    def _consistent(self) -> Config:
        if self.batch_size is not None and self.batch_size % self.accumulate:
            raise ValueError(f"batch_size {self.batch_size} is no multiple of accumulate {self.accumulate}")
        method, network = METHODS.get(self.method), NETWORKS.get(self.network)
        if method is not None and method.uncertain and network is not None and not network.can_be_uncertain:
            able = " or ".join(name for name, one in NETWORKS.items() if one.can_be_uncertain)
            raise ValueError(
                f"method {self.method} needs a network with an uncertainty, {able}; not {self.network}"
            )
        if method is not None and self.method_options:
            self.method_options.update(_known(method.check_options, self.method_options))
        if self.dims is not None:
            for name in ("size", "spacing"):
                value = getattr(self, name)
                if isinstance(value, tuple) and (len(value) != self.dims or min(value) <= 0):
                    raise ValueError(f"{name} needs {self.dims} positive numbers, one for each axis; got {value}")
        if self.size is not None and min(self.size) < 16:
            raise ValueError(f"size must be at least 16 along each axis; got {self.size}")
        if (self.batch_size or 1) * math.prod(self.size or ()) > max_voxels():
            raise ValueError(f"batch_size and size make more voxels than {max_voxels()}; see {MAX_VOXELS}")
        return self

    @property
    def preparation(self) -> Preparation:
        """Preparation of the images; needs the resolved dimension."""
        from heteroreg.data.samples.preparation import Preparation  # image libraries: too slow for completion

        assert self.dims is not None
        return Preparation(self.dims, self.spacing, self.intensity, self.initial)

    @classmethod
    def build(cls, *layers: Mapping[str, Any], method: Method | None = None) -> Config:
        """Merge layers of settings, later ones over earlier, all over the method's defaults.

        Args:
            *layers: Settings. `method_options.window` stands for the option `window` in `method_options`.
            method: The method, if it is not in the table.

        Raises:
            UserError: A key is unknown or a value is not allowed; the message names it.
        """
        return cls._checked(_merged(*layers), "configuration", method=method)

    @classmethod
    def read(cls, path: Path) -> Config:
        """Read the `config.yaml` of a run.

        Raises:
            UserError: It is missing or damaged, or of a newer schema.
        """
        earlier = {"kernel": 0.0}  # what runs of versions without the setting had
        return cls._checked({**earlier, **read_settings(path)}, str(path), complete=True)

    @classmethod
    def _checked(cls, settings: Mapping[str, Any], where: str, **context: Any) -> Config:
        try:
            return cls.model_validate(settings, context=context)
        except ValidationError as error:
            first = error.errors()[0]
            key = f"{'.'.join(map(str, first['loc']))}: " if first["loc"] else ""
            problem = first["msg"].removeprefix("Value error, ").removeprefix(key)
            if first["type"] == "extra_forbidden":
                problem = f"is not a setting; the settings are {', '.join(cls.model_fields)}"
            raise UserError(f"{where}: {key}{problem}") from error

    @classmethod
    def check_values(cls, settings: Mapping[str, Any], where: str) -> None:
        """Check each setting by itself, whatever others may be set elsewhere.

        Raises:
            UserError: A key is unknown or a value is not allowed.
        """
        try:
            cls.model_validate(settings, context={"complete": True})
        except ValidationError as error:
            if any(one["loc"] for one in error.errors()):
                cls._checked(settings, where, complete=True)

    def without_paths(self) -> Config:
        """Return the configuration without paths of the machine, to be shared."""
        return self.model_copy(update={"cohort": None, "init": None})

    def yaml(self) -> str:
        """Return the configuration as YAML."""
        return yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False)


def _known(find: Callable[[Any], Any], name: Any) -> Any:
    try:
        found = find(name)
    except UserError as error:
        raise ValueError(str(error)) from error
    return found if isinstance(found, dict) else name


def _merged(*layers: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings of all layers, with `method_options.x` as an entry of `method_options`."""
    merged: dict[str, Any] = {}
    for layer in layers:
        for key, value in layer.items():
            section, dot, option = key.partition(".") if isinstance(key, str) else (key, "", "")
            if section == OPTIONS and dot:
                merged[OPTIONS] = {**(merged.get(OPTIONS) or {}), option: value}
            else:
                merged[key] = value
    return merged


def newer(path: Path, version: int) -> str:
    """Return the message about a file that a newer version wrote."""
    return (
        f"{path}: was written by a newer heteroreg (schema {version}, this one knows {SCHEMA_VERSION}); "
        "update heteroreg"
    )


def read_settings(path: Path) -> dict[str, Any]:
    """Read settings from a YAML file and check each value.

    Raises:
        UserError: The file is missing or no YAML mapping, a key is unknown or a value is not allowed.
    """
    if not path.is_file():
        raise UserError(f"{path}: no such file; name a configuration")
    settings = read_yaml(path)
    if not isinstance(settings, dict) or not all(isinstance(key, str) for key in settings):
        raise UserError(f"{path}: must hold settings as `key: value`")
    version = settings.get("schema_version")
    if isinstance(version, int) and version > SCHEMA_VERSION:
        raise UserError(newer(path, version))
    settings = _merged(settings)
    Config.check_values(settings, str(path))
    return settings
