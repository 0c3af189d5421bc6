-- The keystore: OpenPGP certificates of the site's people. Public keys are kept for ever, so that old
-- images stay verifiable; what was withdrawn is marked.

create table certificates (
  -- Of the primary key, upper-case hex: 40 digits for version 4, 64 for version 6.
  fingerprint text primary key check (fingerprint ~ '^([0-9A-F]{40}|[0-9A-F]{64})$'),
  version smallint not null check (version in (4, 6)),
  algorithm smallint not null,
  bits integer not null,
  created_at timestamptz not null,
  expires_at timestamptz,
  revoked boolean not null,
  -- Only what the key itself has signed; empty once an administrator has taken it out.
  bytes bytea not null check (octet_length(bytes) <= 65536),
  -- The account that pushed it first; the name stays when the account goes.
  owner_id text references accounts on delete set null,
  owner_name text not null,
  pushed_at timestamptz not null default now(),
  updated_at timestamptz not null default now(),
  -- By its owner: for old signatures only.
  retired_at timestamptz,
  -- By an administrator: not handed out, and never taken again.
  tombstoned_at timestamptz
);
create index certificates_of_owner on certificates (owner_id);

-- Every key of a certificate: signatures are made by subkeys too.
create table certificate_keys (
  certificate text not null references certificates on delete cascade,
  fingerprint text not null,
  -- 64 bits, upper-case hex of 16 digits.
  key_id text not null check (key_id ~ '^[0-9A-F]{16}$'),
  primary key (certificate, fingerprint)
);
create index certificate_keys_by_fingerprint on certificate_keys (fingerprint);
create index certificate_keys_by_id on certificate_keys (key_id);
create index certificate_keys_by_short_id on certificate_keys (right(fingerprint, 8));

create table certificate_user_ids (
  certificate text not null references certificates on delete cascade,
  position smallint not null,
  user_id text not null,
  email text,
  created_at timestamptz not null,
  expires_at timestamptz,
  revoked boolean not null,
  primary key (certificate, position)
);
create index certificate_user_ids_by_part on certificate_user_ids
  using gin (lower(user_id) gin_trgm_ops);
create index certificate_user_ids_by_text on certificate_user_ids (lower(user_id));
create index certificate_user_ids_by_email on certificate_user_ids (email);
