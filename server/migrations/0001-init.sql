-- Times are UTC. Sizes are bytes. Digests are spelled sha256:<64 lower hex>.
-- Identifiers of accounts and tokens have 24 hex digits; library objects are known by their path.

create extension if not exists pg_trgm;

-- One row: says which directory of blobs belongs to this database (blob-store.ts writes its twin).
create table store (
  id text primary key,
  one boolean not null default true unique check (one)
);

create table accounts (
  id text primary key check (id ~ '^[0-9a-f]{24}$'),
  name text not null unique,
  email text not null default '',
  full_name text not null default '',
  is_admin boolean not null default false,
  -- scrypt, in the form of accounts/password-hash.ts; null for accounts of a directory.
  password_hash text,
  disabled_at timestamptz,
  created_at timestamptz not null default now()
);

create table tokens (
  id text primary key check (id ~ '^[0-9a-f]{24}$'),
  account_id text not null references accounts on delete cascade,
  -- SHA-256 of the token. The token itself is shown once and kept nowhere.
  hash bytea not null unique check (length(hash) = 32),
  label text not null default '',
  issued_at timestamptz not null default now(),
  expires_at timestamptz not null,
  revoked_at timestamptz,
  last_used_at timestamptz,
  last_used_from text
);
create index tokens_of_account on tokens (account_id, issued_at);

create table entities (
  id bigint generated always as identity primary key,
  name text not null unique,
  -- null: a space of the site, which only administrators push to.
  owner_id text references accounts on delete set null,
  description text not null default '',
  -- null: the configured default.
  quota_bytes bigint check (quota_bytes >= 0),
  -- The ledger (content/quota.ts): used = sum over the entity's distinct linked blobs,
  -- reserved = sum over its open uploads.
  used_bytes bigint not null default 0 check (used_bytes >= 0),
  reserved_bytes bigint not null default 0 check (reserved_bytes >= 0),
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now()
);

create table collections (
  id bigint generated always as identity primary key,
  entity_id bigint not null references entities,
  name text not null,
  description text not null default '',
  private boolean not null default false,
  created_by text,
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now(),
  unique (entity_id, name)
);

create table repositories (
  id bigint generated always as identity primary key,
  collection_id bigint not null references collections,
  -- Repeated from the collection so that the ledger finds an entity's blobs without a join.
  entity_id bigint not null references entities,
  -- entity/collection/name, the name of the repository in every protocol.
  path text not null unique,
  name text not null,
  description text not null default '',
  full_description text not null default '',
  download_count bigint not null default 0,
  created_by text,
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now()
);
create index repositories_of_collection on repositories (collection_id, name);
create index repositories_by_path_part on repositories using gin (path gin_trgm_ops);

create view repository_details as
select r.id, r.entity_id as "entityId", r.collection_id as "collectionId", r.path,
  e.name as "entity", c.name as "collection", r.name, e.owner_id as "ownerId",
  a.name as "ownerName", c.private, r.description, r.full_description as "fullDescription",
  r.download_count as "downloadCount", r.created_by as "createdBy", r.created_at as "createdAt",
  r.updated_at as "updatedAt"
from repositories r join collections c on c.id = r.collection_id
  join entities e on e.id = r.entity_id left join accounts a on a.id = e.owner_id;

-- A row implies its file; a file without a row is an orphan that the sweep removes.
create table blobs (
  digest text primary key check (digest ~ '^sha256:[0-9a-f]{64}$'),
  size bigint not null check (size >= 0),
  created_at timestamptz not null default now(),
  -- Set by the sweep when it finds the blob unlinked; the bytes go after the grace time.
  condemned_at timestamptz
);
create index blobs_condemned on blobs (condemned_at) where condemned_at is not null;

-- The right of a repository to serve a blob, and what its entity is charged for.
create table repository_blobs (
  repository_id bigint not null references repositories on delete cascade,
  entity_id bigint not null references entities,
  digest text not null references blobs,
  created_at timestamptz not null default now(),
  primary key (repository_id, digest)
);
create index repository_blobs_of_entity on repository_blobs (entity_id, digest);
create index repository_blobs_by_digest on repository_blobs (digest);

-- What a SIF says about itself, read from its bytes by sif/inspect.ts: a fact of the blob.
create table sif_facts (
  digest text primary key references blobs on delete cascade,
  arch text,
  uuid text,
  signed boolean not null,
  fingerprints text[] not null,
  encrypted boolean not null,
  definition text,
  labels jsonb not null,
  oci jsonb
);
create index sif_facts_by_uuid on sif_facts (uuid) where uuid is not null;

create table manifests (
  repository_id bigint not null references repositories on delete cascade,
  digest text not null check (digest ~ '^sha256:[0-9a-f]{64}$'),
  media_type text not null,
  -- The exact bytes: the digest is of these.
  bytes bytea not null,
  -- The configuration of a manifest that Berth composed itself (a SIF pushed through the library);
  -- clients of the registry that push a configuration push it as a blob.
  config_digest text,
  config bytea,
  created_by text,
  created_at timestamptz not null default now(),
  primary key (repository_id, digest)
);

-- A SIF in a repository: announced first, and there once it has a manifest.
create table images (
  repository_id bigint not null references repositories on delete cascade,
  digest text not null check (digest ~ '^sha256:[0-9a-f]{64}$'),
  manifest_digest text,
  description text not null default '',
  created_by text,
  created_at timestamptz not null default now(),
  uploaded_at timestamptz,
  primary key (repository_id, digest),
  foreign key (repository_id, manifest_digest) references manifests (repository_id, digest),
  check ((manifest_digest is null) = (uploaded_at is null))
);
create index images_by_manifest on images (repository_id, manifest_digest);

-- A library tag points to one image for each architecture.
create table tags (
  repository_id bigint not null references repositories on delete cascade,
  name text not null,
  arch text not null,
  manifest_digest text not null,
  updated_by text,
  updated_at timestamptz not null default now(),
  primary key (repository_id, name, arch),
  foreign key (repository_id, manifest_digest) references manifests (repository_id, digest)
);
create index tags_of_manifest on tags (repository_id, manifest_digest);

create table uploads (
  id text primary key check (id ~ '^[0-9a-f]{32}$'),
  entity_id bigint not null references entities,
  repository_id bigint not null references repositories on delete cascade,
  -- What the client announced; the bytes decide.
  expected_digest text not null,
  expected_bytes bigint not null check (expected_bytes > 0),
  reserved_bytes bigint not null check (reserved_bytes >= 0),
  -- null for an upload in one piece.
  part_bytes bigint check (part_bytes > 0),
  -- Found while receiving an upload in one piece, after its bytes were flushed to the disk.
  received_bytes bigint,
  received_digest text,
  -- The connection broke: nobody will go on with it.
  interrupted boolean not null default false,
  account_id text not null references accounts on delete cascade,
  token_id text references tokens on delete cascade,
  created_at timestamptz not null default now(),
  active_at timestamptz not null default now()
);
create index uploads_of_entity on uploads (entity_id, expected_digest);
create index uploads_of_repository on uploads (repository_id);
create index uploads_by_activity on uploads (active_at);

create view image_details as
select i.repository_id as "repositoryId", r.path, r.entity as "entity",
  r.collection as "collection", r.name as "container", r.description as "containerDescription",
  r."downloadCount" as "containerDownloads", r."ownerId", r."ownerName", r.private, i.digest,
  i.manifest_digest as "manifestDigest", b.size as "sizeBytes", i.description,
  coalesce(f.arch, '') as "arch", f.uuid, f.signed, f.encrypted, f.fingerprints,
  (select coalesce(array_agg(distinct t.name order by t.name), '{}') from tags t
    where t.repository_id = i.repository_id and t.manifest_digest = i.manifest_digest) as "tags",
  i.created_by as "createdBy", i.created_at as "createdAt", i.uploaded_at as "uploadedAt"
from images i join repository_details r on r.id = i.repository_id
  join blobs b on b.digest = i.digest join sif_facts f on f.digest = i.digest
where i.manifest_digest is not null;

create view open_uploads as
select id, entity_id as "entityId", repository_id as "repositoryId", expected_digest as "digest",
  expected_bytes as "size", reserved_bytes as "reservedBytes", part_bytes as "partBytes",
  received_bytes as "receivedBytes", received_digest as "receivedDigest",
  account_id as "accountId", interrupted, created_at as "createdAt", active_at as "activeAt",
  -- An upload ends with the token that it was opened with.
  token_id is null or exists (select 1 from tokens t
    where t.id = token_id and t.revoked_at is null and t.expires_at > now()) as "live"
from uploads;

create table upload_parts (
  upload_id text not null references uploads on delete cascade,
  number integer not null check (number between 1 and 10000),
  size bigint not null,
  etag text not null,
  primary key (upload_id, number)
);

-- Written in the transaction of the change it tells of: who, what, from where, with which result.
create table audit (
  id bigint generated always as identity primary key,
  at timestamptz not null default now(),
  account_id text,
  account_name text,
  token_id text,
  address text not null,
  action text not null,
  target text not null,
  outcome text not null,
  details jsonb not null default '{}'
);
create index audit_by_time on audit (at);

-- Who may see what, for statements that list: the same rule as accounts/permissions.ts.
create function readable_by(is_private boolean, owner_id text, viewer text, viewer_is_admin boolean)
returns boolean language sql immutable parallel safe as
$$ select not is_private or viewer_is_admin or (viewer is not null and owner_id is not distinct from viewer) $$;
