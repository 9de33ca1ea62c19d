"""What the names of Python and of some libraries do, as far as it is known without running them."""

from __future__ import annotations

from typing import Final


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


CONSTANT_CALLS: Final = _words(
    """
    int str float bool bytes complex frozenset tuple range len repr ord chr hash slice object abs round
    min max sum any all divmod pow format hex oct bin ascii isinstance issubclass re.compile re.escape
    logging.getLogger pathlib.Path pathlib.PurePath pathlib.PurePosixPath typing.TypeVar typing.NewType
    typing.ParamSpec typing.TypeVarTuple typing.NamedTuple typing.cast typing_extensions.TypeVar
    typing_extensions.ParamSpec collections.namedtuple dataclasses.field enum.auto datetime.timedelta
    datetime.date datetime.datetime datetime.time datetime.timezone decimal.Decimal fractions.Fraction
    uuid.UUID zoneinfo.ZoneInfo struct.Struct operator.itemgetter operator.attrgetter
    operator.methodcaller os.getenv os.environ.get os.path.join os.path.dirname os.path.abspath
    os.path.basename os.path.realpath os.path.exists os.cpu_count textwrap.dedent inspect.cleandoc
    importlib.util.find_spec importlib.metadata.version string.Template pydantic.Field
    pydantic.PrivateAttr pydantic.ConfigDict pydantic.StringConstraints pydantic.Discriminator
    pydantic.Tag pydantic.BeforeValidator pydantic.AfterValidator pydantic.PlainSerializer
    pydantic.WithJsonSchema playhead.adapter playhead.Secret
    """
)
"""Calls without an effect, whose result cannot change."""
CONTAINER_CALLS: Final = _words("list set dict sorted str.maketrans os.environ.copy")
OBJECT_CALLS: Final = _words(
    """
    bytearray iter enumerate zip reversed memoryview copy.copy copy.deepcopy collections.defaultdict
    collections.Counter collections.deque collections.OrderedDict collections.ChainMap threading.Lock
    threading.RLock threading.local threading.Event threading.Semaphore threading.Condition asyncio.Lock
    asyncio.Semaphore asyncio.Event weakref.WeakValueDictionary weakref.WeakKeyDictionary
    itertools.count itertools.cycle itertools.chain queue.Queue io.BytesIO io.StringIO random.Random
    contextvars.ContextVar types.MappingProxyType types.SimpleNamespace functools.partial
    """
)
"""Calls that only create an object."""
DECLARING: Final = _words(
    """
    field Field PrivateAttr defaultdict ContextVar partial NewType TypeVar BeforeValidator AfterValidator
    PlainSerializer
    """
)
"""Calls that do not call the functions among their arguments."""
CONSTANT_METHODS: Final = _words(
    """
    lower upper strip lstrip rstrip title capitalize casefold swapcase replace format format_map join
    encode decode zfill center ljust rjust expandtabs removeprefix removesuffix startswith endswith find
    index count isdigit isalpha isalnum isupper islower hex fromhex read_text read_bytes resolve
    absolute joinpath with_suffix with_name with_stem exists is_file is_dir expanduser as_posix
    relative_to total_seconds isoformat bit_length
    """
)
CONTAINER_METHODS: Final = _words(
    """
    split rsplit splitlines partition rpartition copy union intersection difference
    """
)
VIEWS: Final = _words("keys values items")
PLAIN_DECORATORS: Final = _words(
    """
    property staticmethod classmethod adapter dataclass dataclasses.dataclass functools.cached_property
    functools.total_ordering functools.wraps contextlib.contextmanager contextlib.asynccontextmanager
    abc.abstractmethod typing.overload typing.override typing.final typing.runtime_checkable
    typing.no_type_check typing_extensions.override typing_extensions.final enum.unique enum.verify
    pydantic.field_validator pydantic.model_validator pydantic.field_serializer
    pydantic.model_serializer pydantic.computed_field pydantic.validate_call
    pydantic.dataclasses.dataclass
    """
)
CACHES: Final = _words("functools.cache functools.lru_cache")
CONSTANT_TYPES: Final = _words("str int float bool bytes complex None re.Pattern frozenset")
READERS: Final = _words(
    """
    len sorted list tuple set frozenset dict min max sum any all enumerate zip map filter reversed range
    str repr print bool int float isinstance issubclass hash id type callable format
    """
)
"""Built-in functions that only read their arguments."""
REFLECTING: Final = _words(
    """
    __globals__ __code__ __closure__ __builtins__ __subclasses__ f_globals f_locals f_builtins
    """
)
"""Attributes that lead to names that are not in the text."""
REFLECTION: Final = _words(
    """
    globals exec eval compile __builtins__ builtins runpy pkgutil.resolve_name sys.modules sys._getframe
    importlib.reload inspect.getsource inspect.getsourcelines inspect.getmembers inspect.getmodule
    inspect.currentframe inspect.stack gc.get_objects gc.get_referrers gc.get_referents ctypes.pythonapi
    ctypes.py_object
    """
)
"""What reaches names that are not in the text, or the text itself."""
READING_METHODS: Final = _words(
    """
    get items keys values index count copy union intersection difference symmetric_difference issubset
    issuperset isdisjoint
    """
)
