-- Accounts of a site's directory, their groups, private collections with readers, scopes of tokens,
-- failed sign-ins.

alter table accounts
  -- Who checks the password: Berth itself, or the site's directory or portal.
  add column provider text not null default 'local' check (provider in ('local', 'ldap', 'portal')),
  -- The directory's immutable identifier: a login name that is given to somebody else is another account.
  add column directory_id text,
  -- Set and cleared by re-validation against the directory; disabled_at is the administrator's.
  add column suspended_at timestamptz,
  add column suspended_reason text,
  add column signed_in_at timestamptz,
  add constraint directory_has_id check ((provider = 'local') = (directory_id is null));
create unique index accounts_of_directory on accounts (provider, directory_id)
  where directory_id is not null;

create view account_details as
select id, name, provider, directory_id as "directoryId", email, full_name as "fullName",
  is_admin as "isAdmin", disabled_at as "disabledAt", suspended_at as "suspendedAt",
  suspended_reason as "suspendedReason", signed_in_at as "signedInAt", created_at as "createdAt"
from accounts;

-- Groups of the directory, as far as people who signed in belong to them.
create table groups (
  id text primary key check (id ~ '^[0-9a-f]{24}$'),
  name text not null unique,
  created_at timestamptz not null default now()
);

-- Replaced as a whole at each sign-in and re-validation, never merged.
create table memberships (
  account_id text not null references accounts on delete cascade,
  group_id text not null references groups on delete cascade,
  primary key (account_id, group_id)
);
create index memberships_of_group on memberships (group_id);

-- A principal is an account or a group; both have identifiers of 24 hex digits.
create function principals_of(account text) returns text[] language sql stable parallel safe as
$$ select array_prepend(account, coalesce((select array_agg(group_id order by group_id)
     from memberships where account_id = account), '{}')) $$;

alter table tokens
  add column scope text not null default 'all' check (scope in ('all', 'pull', 'build'));

alter table entities
  add column owner_group_id text references groups on delete set null,
  add constraint one_owner check (owner_id is null or owner_group_id is null);

-- Principals that may read the collection besides the members of its entity, when it is private.
alter table collections add column readers text[] not null default '{}';

-- A password attempt that has not succeeded (yet): counted before the password is checked, forgotten
-- when it was right. Subjects are account:<name> and address:<IP address>.
create table sign_in_attempts (
  id bigint generated always as identity primary key,
  subject text not null,
  at timestamptz not null default now(),
  -- The audit log has heard that attempts after this one are refused.
  told boolean not null default false
);
create index sign_in_attempts_of_subject on sign_in_attempts (subject, at);
create index sign_in_attempts_by_time on sign_in_attempts (at);

-- What needs an administrator; one row for each matter while it lasts.
create table alarms (
  name text primary key,
  message text not null,
  details jsonb not null default '{}',
  raised_at timestamptz not null default now()
);

-- The views and the rule for lists, with owners that are accounts or groups, and with readers.

drop view image_details;
drop view repository_details;
drop view open_uploads;
drop function readable_by(boolean, text, text, boolean);

-- The same rule as accounts/permissions.ts. `viewer` holds the principals of whoever asks.
create function readable_by(
  is_private boolean, owner text, readers text[], viewer text[], viewer_is_admin boolean
) returns boolean language sql immutable parallel safe as
$$ select not is_private or viewer_is_admin
     or coalesce(owner = any(viewer), false) or readers && viewer $$;

create view entity_details as
select e.id, e.name, coalesce(e.owner_id, e.owner_group_id) as "ownerId",
  coalesce(a.name, g.name) as "ownerName", e.owner_group_id is not null as "ownedByGroup",
  e.description, e.used_bytes as "usedBytes", e.reserved_bytes as "reservedBytes",
  e.quota_bytes as "ownQuotaBytes", e.created_at as "createdAt", e.updated_at as "updatedAt"
from entities e left join accounts a on a.id = e.owner_id
  left join groups g on g.id = e.owner_group_id;

create view collection_details as
select c.id, c.entity_id as "entityId", e.name as "entity", c.name, e."ownerId", e."ownerName",
  c.description, c.private, c.readers, c.created_by as "createdBy", c.created_at as "createdAt",
  c.updated_at as "updatedAt"
from collections c join entity_details e on e.id = c.entity_id;

create view repository_details as
select r.id, r.entity_id as "entityId", r.collection_id as "collectionId", r.path,
  c."entity", c.name as "collection", r.name, c."ownerId", c."ownerName", c.private, c.readers,
  r.description, r.full_description as "fullDescription", r.download_count as "downloadCount",
  r.created_by as "createdBy", r.created_at as "createdAt", r.updated_at as "updatedAt"
from repositories r join collection_details c on c.id = r.collection_id;

create view image_details as
select i.repository_id as "repositoryId", r.path, r.entity as "entity",
  r.collection as "collection", r.name as "container", r.description as "containerDescription",
  r."downloadCount" as "containerDownloads", r."ownerId", r."ownerName", r.private, r.readers,
  i.digest, i.manifest_digest as "manifestDigest", b.size as "sizeBytes", i.description,
  coalesce(f.arch, '') as "arch", f.uuid, f.signed, f.encrypted, f.fingerprints,
  (select coalesce(array_agg(distinct t.name order by t.name), '{}') from tags t
    where t.repository_id = i.repository_id and t.manifest_digest = i.manifest_digest) as "tags",
  i.created_by as "createdBy", i.created_at as "createdAt", i.uploaded_at as "uploadedAt"
from images i join repository_details r on r.id = i.repository_id
  join blobs b on b.digest = i.digest join sif_facts f on f.digest = i.digest
where i.manifest_digest is not null;

create view open_uploads as
select u.id, u.entity_id as "entityId", u.repository_id as "repositoryId",
  u.expected_digest as "digest", u.expected_bytes as "size", u.reserved_bytes as "reservedBytes",
  u.part_bytes as "partBytes", u.received_bytes as "receivedBytes",
  u.received_digest as "receivedDigest", u.account_id as "accountId", u.interrupted,
  u.created_at as "createdAt", u.active_at as "activeAt",
  -- An upload ends with the token that it was opened with, and with its account.
  a.disabled_at is null and a.suspended_at is null
    and (u.token_id is null or exists (select 1 from tokens t
      where t.id = u.token_id and t.revoked_at is null and t.expires_at > now())) as "live"
from uploads u join accounts a on a.id = u.account_id;
