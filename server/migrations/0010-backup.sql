-- expand
-- While one of these rows has not ended, no byte that a row names is taken away: a backup has read the
-- rows and is copying. Whoever holds it renews it; when he dies, it ends by itself.

create table deletion_holds (
  id text primary key check (id ~ '^[0-9a-f]{24}$'),
  holder text not null,
  until timestamptz not null
);

-- The backups that were begun, for those who ask how old the last good one is.
create table backups (
  id text primary key check (id ~ '^[0-9a-f]{24}$'),
  -- Its name in the directory, such as 20261121T150405Z.
  name text not null,
  directory text not null,
  started_at timestamptz not null default now(),
  ended_at timestamptz,
  -- damaged: whole but for bytes that are lost or wrong in the store already.
  outcome text not null default 'running'
    check (outcome in ('running', 'complete', 'damaged', 'failed')),
  -- Of all that belongs to it; copied_bytes: what earlier backups in the directory did not have.
  blobs bigint not null default 0,
  bytes bigint not null default 0,
  copied_bytes bigint not null default 0,
  message text not null default '',
  check ((outcome = 'running') = (ended_at is null))
);
create index backups_by_end on backups (ended_at) where ended_at is not null;
