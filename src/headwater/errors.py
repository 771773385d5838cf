"""What can go wrong, named. Every message says what and where, and what to do next."""


class HeadwaterError(Exception):
    """Base of every error that this package raises on purpose."""


class SchemaError(HeadwaterError):
    """Input data do not fit the schema: the message names the file, the row and the column."""


class ConfigError(HeadwaterError):
    """A recipe or policy does not fit: the message names the key and the nearest valid one."""


class DatasetUnavailable(HeadwaterError):
    """A data set could not be fetched, or what came is not what was published."""


class UnknownItem(HeadwaterError):
    """An id that the vocabulary does not hold, where one is required."""


class LineageError(HeadwaterError):
    """An artefact was built on another vocabulary; its codes mean other items here."""


class ArtefactError(HeadwaterError):
    """A stored artefact is truncated, altered or of another format version."""


class StoreError(HeadwaterError):
    """A store cannot be opened, read or written, or a key does not fit it."""


class StoreAway(StoreError):
    """The server of a store or of a log cannot be reached now. What was asked may be asked again."""


class StoreFull(StoreError):
    """A store has no room: disk or memory is full. Nothing of what was to be written was written."""


class TornValue(StoreError):
    """A stored value fails its checksum, or was not written by this package. Other values are not affected."""


class ReleaseError(HeadwaterError):
    """A release is missing, incomplete or not the one that its manifest describes."""


class TrainingDiverged(HeadwaterError):
    """A loss is no longer finite: the message names epoch and batch, and the last good checkpoint is kept."""


class VersionGone(HeadwaterError):
    """A version of knowledge that a center does not have, or does not have any more."""


class VersionKept(HeadwaterError):
    """A version of knowledge must stay, for it is pinned or served, and so there is no room for another."""


class ClusterError(HeadwaterError):
    """A Flink cluster cannot be reached, has no room for a job, or refuses it."""
