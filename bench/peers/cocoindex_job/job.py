"""Documents -> chunks -> vectors -> a table that follows the documents.

Vectors are stored as 32-bit floats in a column of bytes, because not every Python can load extensions of
SQLite.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cocoindex as coco
from cocoindex.connectors import localfs, sqlite
from cocoindex.resources.file import FileLike
from cocoindex.resources.id import IdGenerator
from embedding_api import embedded

INDEX = coco.ContextKey[sqlite.ManagedConnection]("index")


@coco.lifespan
def lifespan(builder: coco.EnvironmentBuilder) -> Iterator[None]:
    builder.settings.db_path = Path("state")
    builder.provide_with(INDEX, sqlite.managed_connection("index.db", load_vec=False))
    yield


@dataclass
class Row:
    id: int
    document: str
    text: str
    embedding: bytes


@coco.fn
def chunks(text: str) -> list[str]:
    found = []
    for block in text.split("\n\n"):
        if block.startswith("|"):
            continue
        found.append(block)
    return found


@coco.fn.as_async(memo=True, batching=True, max_batch_size=64)
def embed(texts: list[str]) -> list[bytes]:
    return [array("f", vector).tobytes() for vector in embedded(texts)]


@coco.fn
async def store(text: str, document: str, ids: IdGenerator, table: sqlite.TableTarget[Row]) -> None:
    table.declare_row(row=Row(await ids.next_id(text), document, text, await embed(text)))


@coco.fn(memo=True)
async def process(file: FileLike, table: sqlite.TableTarget[Row]) -> None:
    document = file.file_path.path.relative_to("documents").as_posix()
    await coco.map(store, chunks(await file.read_text()), document, IdGenerator(), table)


@coco.fn
async def main(folder: Path) -> None:
    schema = await sqlite.TableSchema.from_class(Row, primary_key=["id"])
    table = await sqlite.mount_table_target(INDEX, "chunk", schema)
    await coco.mount_each(process, localfs.walk_dir(folder, recursive=True).items(), table)


app = coco.App(coco.AppConfig(name="job"), main, folder=Path("documents"))
