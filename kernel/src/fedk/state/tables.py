"""The tables: what must survive. `project` is in every key that a tenant could meet; `v` of a session guards all its rows.

Times are seconds since the epoch, hashes are 32 bytes, ids are text.
"""

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    Float,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
)

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(column_0_label)s",
        "uq": "uq_%(table_name)s_%(column_0_name)s",
        "pk": "pk_%(table_name)s",
    }
)

ID = String(64)
NAME = String(200)
HASH = LargeBinary(32)
BIG = BigInteger().with_variant(Integer, "sqlite")

schema_info = Table(
    "schema_info",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("release", String(32), nullable=False),
    Column("rules_version", Integer, nullable=False),
)

lease = Table(
    "lease",
    metadata,
    Column("name", String(32), primary_key=True),
    Column("epoch", BIG, nullable=False),
    Column("owner", NAME, nullable=False),
    Column("expires_at", Float, nullable=False),  # the database's clock
)

projects = Table(
    "projects",
    metadata,
    Column("id", ID, primary_key=True),
    Column("name", NAME, nullable=False, unique=True),
    Column("limits", JSON, nullable=False),
)

clients = Table(
    "clients",
    metadata,
    Column("id", ID, primary_key=True),
    Column("project", ID, nullable=False),
    Column("name", NAME, nullable=False),
    Column("instance", ID, nullable=False),
    Column("generation", Integer, nullable=False),  # how many instances there have been
    Column("attributes", JSON, nullable=False),
    Column("capabilities", JSON, nullable=False),
    Column("software", NAME, nullable=False),
    Column("state", String(16), nullable=False),  # connected | lost | left
    Column("holder", ID, nullable=False),
    Column("last_seen", Float, nullable=False),
    UniqueConstraint("project", "name"),
)

sessions = Table(
    "sessions",
    metadata,
    Column("id", ID, primary_key=True),
    Column("project", ID, nullable=False),
    Column("name", NAME, nullable=False),
    Column("first_model", HASH),  # absent: asked of a client
    Column("rules", JSON, nullable=False),
    Column("rules_version", Integer, nullable=False),
    Column("status", String(16), nullable=False),
    Column("why", Text, nullable=False),
    Column("paused_by", String(16), nullable=False),  # "" | person | blocked
    Column("closing", String(16), nullable=False),  # "" | due | selecting | asked: the last model's validation
    Column("head_round", Integer, nullable=False),
    Column("head_model", ID),
    Column("aggregator", NAME, nullable=False),
    Column("aggregator_version", String(32), nullable=False),
    Column("state_version", Integer, nullable=False),
    Column("seed", BIG, nullable=False),
    Column("next_task", Integer, nullable=False),
    Column("folds", Integer, nullable=False, server_default="0"),  # models begun
    Column("warnings", JSON, nullable=False),
    Column("created_at", Float, nullable=False),
    Column("ended_at", Float),
    Column("v", Integer, nullable=False),
    UniqueConstraint("project", "name"),
)

rounds = Table(
    "rounds",
    metadata,
    Column("session", ID, primary_key=True),
    Column("no", Integer, primary_key=True),
    Column("project", ID, nullable=False),
    Column("base_model", ID, nullable=False),
    Column("state", String(16), nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("step", Integer, nullable=False),
    Column("target", Integer, nullable=False),
    Column("first_task", Integer, nullable=False),
    Column("armed", Boolean, nullable=False),
    Column("expired", Boolean, nullable=False),
    Column("deadline_at", Float),
    Column("remaining_s", Float),  # while the clock is stopped
    Column("opened_at", Float, nullable=False),
    Column("closed_at", Float),
    Column("sent_bytes", BIG, nullable=False),
    Column("received_bytes", BIG, nullable=False),
    Column("why", Text, nullable=False),
)

tasks = Table(
    "tasks",
    metadata,
    Column("id", ID, primary_key=True),
    Column("project", ID, nullable=False),
    Column("session", ID, nullable=False),
    Column("client", ID, nullable=False),
    Column("number", Integer, nullable=False),  # in its session
    Column("kind", String(32), nullable=False),
    Column("asked_round", Integer, nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("step", Integer, nullable=False),
    Column("base", Integer, nullable=False),  # round of the model that it brings; -1 for init
    Column("state", String(16), nullable=False),
    Column("queued_at", Float, nullable=False),
    Column("sent_at", Float),  # up to a second later: see rounds/inbox.py
    Column("verdict", String(16)),  # committed | recorded | rejected | failed | lost | cancelled
    Column("reason", String(32), nullable=False),
    Column("detail", Text, nullable=False),
    Column("verdict_at", Float),
    Index("ix_tasks_session_state", "session", "state"),
    Index("ix_tasks_session_round", "session", "asked_round"),
)

results = Table(
    "results",
    metadata,
    Column("task", ID, primary_key=True),
    Column("project", ID, nullable=False),
    Column("session", ID, nullable=False),
    Column("result_id", ID, nullable=False),
    Column("round", Integer, nullable=False),  # accepted into
    Column("holder", ID, nullable=False),
    Column("sha256", HASH, nullable=False),  # of the blobs' bytes in the order of their sorted names
    Column("bytes", BIG, nullable=False),
    Column("blobs", JSON, nullable=False),  # by name: offset in the place, size, hash (hex), codec
    Column("num_examples", BIG, nullable=False),
    Column("metrics", JSON, nullable=False),
    Column("staleness", Integer, nullable=False),
    Column("weight", Float, nullable=False),
    Column("scale", Float, nullable=False),
    Column("sums", JSON, nullable=False),
    Column("norm", Float, nullable=False),
    Column("max_abs", Float, nullable=False),
    Column("place", Text, nullable=False),  # file in the spool
    Column("place_offset", BIG, nullable=False),
    Column("partial", ID),
    Column("via", Text, nullable=False, server_default=""),  # as of a contribution
    Column("received_at", Float, nullable=False),
    Index("ix_results_session_round", "session", "round"),
)

partials = Table(  # sums of combiners: at a root those that it took, at a combiner its own
    "partials",
    metadata,
    Column("session", ID, primary_key=True),
    Column("name", NAME, primary_key=True),  # HOLDER#NUMBER
    Column("project", ID, nullable=False),
    Column("round", Integer, nullable=False),
    Column("tasks", JSON, nullable=False),  # what is in it: written down before it is sent, never changed
    Column("raw", Boolean, nullable=False),  # its one update stands as it came
    Column("total", String(16), nullable=False),  # kind of the sums
    Column("blobs", JSON, nullable=False),  # by name: offset in the place, size, hash (hex)
    Column("bytes", BIG, nullable=False),
    Column("place", Text, nullable=False),  # file in the spool
    Column("received_at", Float, nullable=False),
)
reports = Table(  # a combiner's: results that it holds, until their verdicts
    "reports",
    metadata,
    Column("task", ID, primary_key=True),
    Column("project", ID, nullable=False),
    Column("session", ID, nullable=False),
    Column("client", ID, nullable=False),
    Column("result_id", ID, nullable=False),
    Column("body", LargeBinary, nullable=False),  # as it is said to the parent
    Column("bytes", BIG, nullable=False),
    Column("place", Text, nullable=False),  # file in the spool
    Column("place_offset", BIG, nullable=False),
    Column("received_at", Float, nullable=False),
)
combiners = Table(
    "combiners",
    metadata,
    Column("name", ID, primary_key=True),
    Column("generation", ID, nullable=False),  # of its disk: another disk has lost what the earlier one held
    Column("advertise", JSON, nullable=False),
    Column("attributes", JSON, nullable=False),
    Column("capacity", Integer),  # clients; null: no limit set
    Column("state", String(16), nullable=False),  # live | draining | lost
    Column("last_seen", Float, nullable=False),
)
uploads = Table(
    "uploads",
    metadata,
    Column("task", ID, primary_key=True),
    Column("result_id", ID, primary_key=True),
    Column("project", ID, nullable=False),
    Column("holder", ID, nullable=False),
    Column("size", BIG, nullable=False),
    Column("path", Text, nullable=False),
    Column("touched_at", Float, nullable=False),
)

blobs = Table(
    "blobs",
    metadata,
    Column("project", ID, primary_key=True),
    Column("sha256", HASH, primary_key=True),
    Column("bytes", BIG, nullable=False),
    Column("kind", String(16), nullable=False),  # model | state | sent | update
    Column("state", String(16), nullable=False),  # live | deleting
    Column("created_at", Float, nullable=False),
)

blob_refs = Table(
    "blob_refs",
    metadata,
    Column("project", ID, primary_key=True),
    Column("sha256", HASH, primary_key=True),
    Column("ref_kind", String(16), primary_key=True),  # as a blob's kind
    Column("ref_id", ID, primary_key=True),  # of a model
    Index("ix_blob_refs_ref_id", "ref_id"),
)

models = Table(
    "models",
    metadata,
    Column("id", ID, primary_key=True),
    Column("project", ID, nullable=False),
    Column("session", ID),  # absent: put by a person, in no trail yet
    Column("round", Integer),
    Column("parent", ID),
    Column("sha256", HASH, nullable=False),
    Column("bytes", BIG, nullable=False),
    Column("digest", HASH, nullable=False),
    Column("aggregator", NAME, nullable=False),
    Column("aggregator_version", String(32), nullable=False),
    Column("config_hash", HASH, nullable=False),
    Column("state_sha256", HASH),  # tensors of the aggregator's state
    Column("state_scalars", JSON, nullable=False),
    Column("recipe", JSON, nullable=False, server_default="{}"),  # what a replay needs beside its updates
    Column("seconds", JSON, nullable=False),  # wait, fold, store, commit
    Column("committed_at", Float, nullable=False),
    UniqueConstraint("session", "round"),
)

contributions = Table(
    "contributions",
    metadata,
    Column("model", ID, primary_key=True),
    Column("task", ID, primary_key=True),
    Column("project", ID, nullable=False),
    Column("client_name", NAME, nullable=False),
    Column("update_sha256", HASH, nullable=False),
    Column("num_examples", BIG, nullable=False),
    Column("weight", Float, nullable=False),
    Column("via", Text, nullable=False),  # the combiners that it went through, from the highest down, by id; or "root"
)

rejections = Table(
    "rejections",
    metadata,
    Column("task", ID, primary_key=True),
    Column("project", ID, nullable=False),
    Column("session", ID, nullable=False),
    Column("round", Integer, nullable=False),
    Column("client_name", NAME, nullable=False),
    Column("verdict", String(16), nullable=False),
    Column("reason", String(32), nullable=False),
    Column("detail", Text, nullable=False),
    Column("at", Float, nullable=False),
    Index("ix_rejections_session_round", "session", "round"),
)

metrics = Table(
    "metrics",
    metadata,
    Column("task", ID, primary_key=True),
    Column("name", NAME, primary_key=True),  # with its kind: train.loss
    Column("project", ID, nullable=False),
    Column("session", ID, nullable=False),
    Column("round", Integer, nullable=False),  # of the model that it belongs to
    Column("client", ID, nullable=False),
    Column("kind", String(32), nullable=False),
    Column("value", Float, nullable=False),
    Column("num_examples", BIG, nullable=False),
    Column("at", Float, nullable=False),
    Index("ix_metrics_session_round", "session", "round"),
)

model_tags = Table(
    "model_tags",
    metadata,
    Column("project", ID, primary_key=True),
    Column("name", NAME, primary_key=True),
    Column("model", ID, nullable=False),
)

events = Table(
    "events",
    metadata,
    Column("seq", BIG, primary_key=True, autoincrement=False),  # given by the writer
    Column("project", ID, nullable=False),
    Column("session", ID),
    Column("type", String(64), nullable=False),
    Column("body", JSON, nullable=False),
    Column("at", Float, nullable=False),
    Index("ix_events_session", "session", "seq"),
)
