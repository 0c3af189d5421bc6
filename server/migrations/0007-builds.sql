-- The remote builder. The table of builds is the queue: what waits, what runs, and the history.

-- What a build reads from `%files`: a tar.gz that its own account has sent. A digest is no right to
-- somebody else's bytes, so each account has its own copy.
create table build_contexts (
  id text primary key check (id ~ '^[0-9a-f]{32}$'),
  account_id text not null references accounts on delete cascade,
  digest text not null check (digest ~ '^sha256:[0-9a-f]{64}$'),
  size bigint not null check (size > 0),
  -- null until the bytes have arrived and were found good.
  uploaded_at timestamptz,
  -- Its owner does not want it any more; it goes when no build needs it.
  released_at timestamptz,
  used_at timestamptz not null default now(),
  created_at timestamptz not null default now(),
  unique (account_id, digest)
);

create table builds (
  id text primary key check (id ~ '^[0-9a-f]{24}$'),
  account_id text not null references accounts on delete cascade,
  -- The access token that it was handed in with: when that one is revoked, the build ends.
  token_id text references tokens on delete set null,
  -- queued → starting (a builder was asked) → running (its runner has come) → one of the last three.
  state text not null default 'queued'
    check (state in ('queued', 'starting', 'running', 'succeeded', 'failed', 'cancelled')),
  -- Why it failed or was cancelled.
  reason text not null default '',
  arch text not null,
  definition text not null,
  working_dir text not null default '/',
  build_args jsonb not null default '{}',
  context_id text references build_contexts on delete set null,
  -- entity/collection/container and the tag that the image gets.
  target_path text not null,
  target_tag text not null,
  -- Nobody named a target: the image is removed after a while.
  ephemeral boolean not null,
  submitted_at timestamptz not null default now(),
  started_at timestamptz,
  ended_at timestamptz,
  deleted_at timestamptz,
  -- The builder of the configuration, and what its executor calls the job.
  builder text,
  handle text,
  attempts integer not null default 0,
  -- SHA-256 of the job token, which is good while the build is starting or running.
  job_token_hash bytea unique check (length(job_token_hash) = 32),
  -- The last sign of life of the runner; of a build that starts, when it was started.
  heartbeat_at timestamptz,
  cancel_requested_at timestamptz,
  cancel_reason text not null default '',
  -- Length of the stored output; where the output of this attempt begins in it; how much of this
  -- attempt the runner has sent, which is more when output was cut off.
  output_bytes bigint not null default 0,
  attempt_from bigint not null default 0,
  attempt_bytes bigint not null default 0,
  output_full boolean not null default false,
  image_digest text,
  image_bytes bigint,
  image_removed_at timestamptz,
  check ((state in ('succeeded', 'failed', 'cancelled')) = (ended_at is not null)),
  check ((image_digest is null) = (image_bytes is null))
);
create index builds_open on builds (state, submitted_at) where ended_at is null;
create index builds_of_account on builds (account_id, submitted_at desc);
create index builds_by_time on builds (submitted_at desc);
create index builds_by_end on builds (ended_at) where ended_at is not null;
create index builds_of_context on builds (context_id) where ended_at is null;

-- Credentials for pulling that a build's runner uses outside the sandbox. They end with the build,
-- are not shown among a person's tokens, and do not count against their number.
alter table tokens add column build_id text references builds on delete cascade;
create index tokens_of_build on tokens (build_id) where build_id is not null;

create view build_details as
select b.id, b.account_id as "accountId", a.name as "accountName", b.token_id as "tokenId", b.state,
  b.reason, b.arch, b.definition, b.working_dir as "workingDir", b.build_args as "buildArgs",
  b.context_id as "contextId", b.target_path as "targetPath", b.target_tag as "targetTag",
  b.ephemeral, b.submitted_at as "submittedAt", b.started_at as "startedAt",
  b.ended_at as "endedAt", b.deleted_at as "deletedAt", b.builder, b.handle, b.attempts,
  b.cancel_requested_at as "cancelRequestedAt", b.cancel_reason as "cancelReason",
  b.output_bytes as "outputBytes", b.image_digest as "imageDigest", b.image_bytes as "imageBytes",
  b.image_removed_at as "imageRemovedAt"
from builds b join accounts a on a.id = b.account_id;
