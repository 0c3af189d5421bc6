-- expand
-- What the clock does, and what it leaves: runs of jobs, deleted images that can be brought back, rules
-- for what is kept, the re-reading of the store and what was found damaged there. A program
-- of the release before runs on it: its sweep would take blobs that only deleted images need, which the
-- reference of deleted_blobs refuses.

create table job_runs (
  id bigint generated always as identity primary key,
  name text not null,
  -- Why it ran: its time had come, a time was missed, or somebody asked for it.
  cause text not null check (cause in ('schedule', 'catch-up', 'command')),
  began_at timestamptz not null default now(),
  ended_at timestamptz,
  result jsonb,
  -- For people; null while it runs, and for a run that worked.
  error text
);
create index job_runs_of_job on job_runs (name, id desc);

-- Written with the counts of downloads, and not more often than that decides anything.
alter table manifests add column pulled_at timestamptz;

-- From 30 days before its end the owner of a token is told once.
alter table tokens add column end_told_at timestamptz;

-- Images that somebody or a rule deleted: restorable for a while, in no listing and off the quota.
-- What an image needs to come back stays as it was; the sweep leaves its blobs alone.
create table deleted_images (
  id bigint generated always as identity primary key,
  repository_id bigint not null references repositories on delete cascade,
  entity_id bigint not null references entities,
  -- Of the SIF, or of the manifest where there is none.
  digest text not null,
  is_sif boolean not null,
  description text not null default '',
  created_by text,
  uploaded_at timestamptz,
  -- Of the distinct blobs that its manifests need.
  size_bytes bigint not null,
  deleted_by text,
  deleted_by_name text,
  reason text not null check (reason in ('request', 'retention')),
  deleted_at timestamptz not null default now(),
  unique (repository_id, digest)
);
create index deleted_images_of_entity on deleted_images (entity_id, deleted_at);
create index deleted_images_by_time on deleted_images (deleted_at);

create table deleted_manifests (
  deleted_id bigint not null references deleted_images on delete cascade,
  digest text not null,
  media_type text not null,
  bytes bytea not null,
  config_digest text,
  config bytea,
  sif_digest text,
  artifact_type text,
  subject text,
  annotations jsonb not null,
  charged_bytes bigint not null,
  created_by text,
  created_at timestamptz not null,
  pulled_at timestamptz,
  -- [{ "name": …, "arch": … }], as the rows of tags were.
  tags jsonb not null,
  primary key (deleted_id, digest)
);

create table deleted_blobs (
  deleted_id bigint not null references deleted_images on delete cascade,
  manifest_digest text not null,
  digest text not null references blobs,
  primary key (deleted_id, manifest_digest, digest)
);
create index deleted_blobs_by_digest on deleted_blobs (digest);

-- What a space, a collection or a container keeps; of several rules the narrowest holds.
create table retention_rules (
  id bigint generated always as identity primary key,
  entity_id bigint not null references entities on delete cascade,
  collection_id bigint references collections on delete cascade,
  repository_id bigint references repositories on delete cascade,
  keep_last integer check (keep_last > 0),
  pulled_within_days integer check (pulled_within_days > 0),
  keep_tagged boolean not null default true,
  -- keep_last counts in each container, not in all that the rule is for together.
  each_container boolean not null default false,
  -- Only what somebody switched on after it was set acts.
  active boolean not null default false,
  set_by text,
  set_at timestamptz not null default now(),
  check (keep_last is not null or pulled_within_days is not null),
  check (repository_id is null or collection_id is not null)
);
create unique index retention_rules_of_place on retention_rules
  (entity_id, coalesce(collection_id, 0), coalesce(repository_id, 0));

-- How far the store was read again. The cursor is the last digest that was looked at in this pass.
create table scrub (
  one boolean primary key default true check (one),
  pass integer not null default 0,
  began_at timestamptz,
  cursor text not null default '',
  blobs_read bigint not null default 0,
  bytes_read bigint not null default 0,
  damaged bigint not null default 0,
  finished_began_at timestamptz,
  finished_at timestamptz,
  finished_blobs bigint,
  finished_bytes bigint,
  finished_damaged bigint
);
insert into scrub default values;

-- Blobs whose file is gone or does not hold their bytes. The next push of the bytes heals them.
create table damaged_blobs (
  digest text primary key references blobs on delete cascade,
  found_at timestamptz not null default now(),
  fault text not null check (fault in ('missing', 'length', 'content', 'unreadable')),
  -- Bytes of the file; null where there is none.
  found_bytes bigint,
  -- Below the store's quarantine directory.
  quarantined_as text
);
