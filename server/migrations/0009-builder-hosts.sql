-- expand
-- Builder hosts, which connect to the server by themselves, and builders that rest because a wall of
-- theirs did not hold.

create table builder_hosts (
  name text primary key check (name ~ '^[a-z0-9]+([._-][a-z0-9]+)*$'),
  -- SHA-256 of the token that it comes with.
  token_hash bytea not null unique check (length(token_hash) = 32),
  added_at timestamptz not null default now(),
  -- What it has said of itself last; null and empty before it has come.
  heard_at timestamptz,
  archs text[] not null default '{}',
  slots integer not null default 0,
  version text not null default '',
  self_test_at timestamptz,
  -- null: all walls held.
  self_test_failure text
);

-- Of any builder, configured or registered: while there is a row its walls are in doubt.
create table builder_rests (
  builder text primary key,
  reason text not null,
  -- Who found it out: the self-test of a builder host, or that before a build.
  found_by text not null check (found_by in ('self-test', 'build')),
  since timestamptz not null default now(),
  -- When one build may try it again; null: not before a self-test has passed.
  until timestamptz
);
