-- What the keystore says of the signatures in stored images. Whose keys they are is not written down:
-- it is asked of the keystore when the verdict is read.

create table verdicts (
  digest text primary key references sif_facts on delete cascade,
  state text not null check (state in
    ('unsigned', 'verified', 'unknown-key', 'invalid', 'partial', 'dsse', 'legacy')),
  -- For people.
  reason text,
  -- When the check began: what was changed in the keystore since then it may not have seen.
  checked_at timestamptz not null,
  -- When the verdict may be another although nothing was changed, as when a key expires.
  recheck_at timestamptz
);
create index verdicts_to_repeat on verdicts (recheck_at) where recheck_at is not null;

create table verdict_signers (
  digest text not null references verdicts on delete cascade,
  -- Of the signature among those of the image.
  position smallint not null,
  -- Of the primary key, upper-case hex; claimed only while signed_at is null.
  fingerprint text,
  -- Of the key that signed, 16 upper-case hex digits.
  key_id text,
  state text not null,
  reason text,
  -- By the signer's clock; null unless the signature holds as such.
  signed_at timestamptz,
  primary key (digest, position)
);
create index verdict_signers_by_fingerprint on verdict_signers (fingerprint);
create index verdict_signers_by_key_id on verdict_signers (key_id);

-- What listings show. An image counts as signed while no signature is known to be bad: before the
-- first check by what the file says of itself.
create view image_signatures as
select f.digest,
  coalesce(v.state not in ('unsigned', 'invalid'), f.signed) as "signed",
  case when v.digest is null then f.fingerprints
    else (select coalesce(array_agg(distinct s.fingerprint), '{}') from verdict_signers s
      where s.digest = f.digest and s.fingerprint is not null and s.state <> 'invalid')
  end as "fingerprints",
  coalesce(v.state, case when f.signed then 'unchecked' else 'unsigned' end) as "signatureState",
  v.reason as "signatureReason",
  (select coalesce(jsonb_agg(jsonb_build_object('fingerprint', s.fingerprint, 'keyId', s.key_id,
      'account', case when s.signed_at is not null then coalesce(a.name, c.owner_name) end,
      'state', s.state, 'reason', s.reason, 'signedAt', s.signed_at) order by s.position), '[]')
    from verdict_signers s
      left join certificates c on c.fingerprint = s.fingerprint and c.tombstoned_at is null
      left join accounts a on a.id = c.owner_id
    where s.digest = f.digest) as "signers"
from sif_facts f left join verdicts v on v.digest = f.digest;
