-- The OCI registry over the same content: manifests and blobs that clients of the registry push.

alter table blobs drop constraint blobs_digest_check;
alter table blobs add constraint blobs_digest_check
  check (digest ~ '^(sha256:[0-9a-f]{64}|sha512:[0-9a-f]{128})$');

alter table manifests drop constraint manifests_digest_check;
alter table manifests
  add constraint manifests_digest_check
    check (digest ~ '^(sha256:[0-9a-f]{64}|sha512:[0-9a-f]{128})$'),
  -- The one layer of a manifest that holds a SIF. Several manifests may hold the same one: what Berth
  -- composed for the library, and what a client of the registry pushed.
  add column sif_digest text,
  add column artifact_type text,
  add column subject text,
  add column annotations jsonb not null default '{}',
  -- An index that Berth composed for a library tag with several architectures.
  add column composed boolean not null default false,
  -- What the entity is charged for the manifest itself: nothing for those that Berth composed.
  add column charged_bytes bigint not null default 0 check (charged_bytes >= 0);
create index manifests_of_sif on manifests (repository_id, sif_digest) where sif_digest is not null;
create index manifests_of_subject on manifests (repository_id, subject) where subject is not null;
create index manifests_of_config on manifests (repository_id, config_digest)
  where config_digest is not null;
create index manifests_composed on manifests (repository_id) where composed;

-- The blobs that a manifest needs: they stay linked to the repository while it is there.
create table manifest_blobs (
  repository_id bigint not null,
  manifest_digest text not null,
  blob_digest text not null,
  primary key (repository_id, manifest_digest, blob_digest),
  foreign key (repository_id, manifest_digest) references manifests (repository_id, digest)
    on delete cascade
);
create index manifest_blobs_by_blob on manifest_blobs (repository_id, blob_digest);

update manifests m set sif_digest = i.digest from images i
  where i.repository_id = m.repository_id and i.manifest_digest = m.digest;
insert into manifest_blobs (repository_id, manifest_digest, blob_digest)
  select repository_id, digest, sif_digest from manifests where sif_digest is not null;

-- Somebody was told that a blob is there (an upload that ended, a HEAD, a mount) and has not put the
-- manifest that needs it yet: until then nobody takes the blob away from under the push.
create table blob_claims (
  repository_id bigint not null references repositories on delete cascade,
  digest text not null,
  account_id text not null references accounts on delete cascade,
  until timestamptz not null,
  -- How often: several pushes of one account may be under way, and none can be told from the others.
  told integer not null default 1,
  primary key (repository_id, digest, account_id)
);

-- In the tags, the architecture '' is the face that the registry shows: the index of a tag with
-- several architectures, or whatever a client pushed that is not one SIF.
update tags set arch = 'unknown' where arch = '';

-- The indexes of the tags that are there already, byte for byte as content/tags.ts composes them.
create temporary table faces on commit drop as
select t.repository_id, t.name, convert_to(
    '{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":['
    || string_agg(
      format('{"mediaType":"%s","digest":"%s","size":%s,"platform":{"architecture":"%s","os":"linux"}}',
        m.media_type, m.digest, octet_length(m.bytes), t.arch),
      ',' order by t.arch collate "C")
    || ']}', 'UTF8') as bytes
from tags t join manifests m on m.repository_id = t.repository_id and m.digest = t.manifest_digest
group by t.repository_id, t.name having count(*) > 1;
insert into manifests (repository_id, digest, media_type, bytes, composed)
select distinct repository_id, 'sha256:' || encode(sha256(bytes), 'hex'),
  'application/vnd.oci.image.index.v1+json', bytes, true
from faces;
insert into tags (repository_id, name, arch, manifest_digest)
select repository_id, name, '', 'sha256:' || encode(sha256(bytes), 'hex') from faces;

-- Uploads of blobs announce neither digest nor size.
alter table uploads alter column expected_digest drop not null,
  alter column expected_bytes drop not null,
  add constraint image_or_blob check ((expected_digest is null) = (expected_bytes is null));

drop view open_uploads;
create view open_uploads as
select u.id, u.entity_id as "entityId", u.repository_id as "repositoryId",
  u.expected_digest as "digest", u.expected_bytes as "size", u.reserved_bytes as "reservedBytes",
  u.part_bytes as "partBytes", u.received_bytes as "receivedBytes",
  u.received_digest as "receivedDigest", u.account_id as "accountId", u.token_id as "tokenId",
  u.interrupted, u.created_at as "createdAt", u.active_at as "activeAt",
  -- An upload ends with the token that it was opened with, and with its account.
  a.disabled_at is null and a.suspended_at is null
    and (u.token_id is null or exists (select 1 from tokens t
      where t.id = u.token_id and t.revoked_at is null and t.expires_at > now())) as "live"
from uploads u join accounts a on a.id = u.account_id;

drop view image_details;
create view image_details as
select i.repository_id as "repositoryId", r.path, r.entity as "entity",
  r.collection as "collection", r.name as "container", r.description as "containerDescription",
  r."downloadCount" as "containerDownloads", r."ownerId", r."ownerName", r.private, r.readers,
  i.digest, i.manifest_digest as "manifestDigest", b.size as "sizeBytes", i.description,
  coalesce(f.arch, '') as "arch", f.uuid, f.signed, f.encrypted, f.fingerprints,
  (select coalesce(array_agg(distinct t.name order by t.name), '{}')
    from manifests m join tags t
      on t.repository_id = m.repository_id and t.manifest_digest = m.digest
    where m.repository_id = i.repository_id and m.sif_digest = i.digest) as "tags",
  i.created_by as "createdBy", i.created_at as "createdAt", i.uploaded_at as "uploadedAt"
from images i join repository_details r on r.id = i.repository_id
  join blobs b on b.digest = i.digest join sif_facts f on f.digest = i.digest
where i.manifest_digest is not null;

-- Tokens that are good at this moment, with the account that they speak for.
create view live_tokens as
select t.id as "tokenId", t.hash, a.id as "accountId", a.name, principals_of(a.id) as "principals",
  a.is_admin as "isAdmin", t.scope, t.expires_at as "tokenExpiresAt",
  t.last_used_at is null or t.last_used_at < now() - interval '5 minutes' as "stale"
from tokens t join accounts a on a.id = t.account_id
where t.revoked_at is null and t.expires_at > now()
  and a.disabled_at is null and a.suspended_at is null;
