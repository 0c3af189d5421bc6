-- expand
-- What administrators set while Berth runs, and how much was stored day by day.

-- One row.
create table site_settings (
  one boolean primary key default true check (one),
  -- What a space may hold that has no quota of its own; null: quota.default of the configuration.
  default_quota_bytes bigint check (default_quota_bytes >= 0)
);
insert into site_settings default values;

-- What a space may hold: its own quota, else the site's, else the configured one.
create function quota_of(own bigint, configured bigint) returns bigint language sql stable as
$$ select coalesce(own, (select default_quota_bytes from site_settings), configured) $$;

-- What was stored on each day, at the time of its last count.
create table daily_totals (
  day date primary key,
  counted_at timestamptz not null default now(),
  -- Bytes of the blobs on the disk, each once.
  stored_bytes bigint not null,
  -- What all spaces together are charged: a blob counts in each space that has it.
  charged_bytes bigint not null,
  -- Of the disk, for whoever writes to it.
  free_bytes bigint not null,
  images bigint not null
);
