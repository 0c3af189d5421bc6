/**
 * Whether the signatures of an image hold, by the keys of this keystore. The image is `verified`
 * exactly when `apptainer verify` with the same keys would succeed: every group of objects is signed
 * as a whole, and every signature of a group holds, not only one of them.
 */
import type { ByteSource } from '../sif/inspect.ts'
import { checkStatements, groupsOf } from '../sif/integrity.ts'
import type { Coverage } from '../sif/integrity.ts'
import { DataType, groupOf } from '../sif/layout.ts'
import { readSignatures } from '../sif/signatures.ts'
import type { SignatureObject, SignedImage } from '../sif/signatures.ts'
import type { SignatureThread } from './clear-signed.ts'

/**
 * The certificate (binary) that holds a key, which is named as for FindKey. Where several do, the one
 * whose primary key is `primary`, as the image claims: no other can make the image verified, and a
 * key ID is quickly made a second time.
 */
export type FindCertificate = (
  fingerprintOrKeyId: string,
  primary: string | undefined,
) => Promise<Uint8Array | undefined>

export type VerdictState =
  | 'unsigned'
  | 'verified'
  /** By a key that is not in the keystore; what was signed is then not looked at. */
  | 'unknown-key'
  /** A signature does not hold, or the image is not what was signed. */
  | 'invalid'
  /** What was signed holds, but not everything is signed. */
  | 'partial'
  /** By a key in PEM, which names no signer: only who has the key can check it. */
  | 'dsse'
  /** In the way before SIF 3.6, which left header and descriptors open to change. */
  | 'legacy'

export interface Verdict {
  /** There is a signature, of whatever worth. */
  readonly signed: boolean
  readonly state: VerdictState
  /** One for each signature object, in the order of the file. */
  readonly signers: readonly Signer[]
  /** For people; undefined when there is nothing to say because the image is verified. */
  readonly reason: string | undefined
  /** When the verdict may be another although neither image nor keystore has changed. */
  readonly recheckAt: Date | undefined
}

interface Signer {
  /** Of the primary key, 40 upper-case hex digits. Proven where `at` is given, otherwise claimed. */
  readonly fingerprint: string | undefined
  /** Of the key that signed, 16 upper-case hex digits. */
  readonly keyId: string | undefined
  /** When it was signed by the signer's clock; only where the signature holds as such. */
  readonly at: Date | undefined
  readonly state: Exclude<VerdictState, 'unsigned'>
  /** For people; undefined for `verified`. */
  readonly reason: string | undefined
}

/** A signature in work: `statement` is there while what it says is still to be compared. */
interface Opinion {
  readonly signer: Signer
  readonly statement: { readonly group: number; readonly signed: Buffer } | undefined
  readonly recheckAt: Date | undefined
}

/** The worst comes first: it decides what is said of the image. */
const WORST_FIRST = ['invalid', 'unknown-key', 'dsse', 'partial'] as const

/**
 * Reads contents only when a known key has signed them. Throws Failure('invalid', 'image') for a file
 * that inspectSif refuses; what `source` and `findCertificate` throw passes through.
 */
export async function verdictOf(
  source: ByteSource,
  findCertificate: FindCertificate,
  thread: SignatureThread,
): Promise<Verdict> {
  const image = await readSignatures(source)
  if (image.signatures.length === 0) {
    const reason = 'This image is not signed: `apptainer sign` and `singularity sign` do that.'
    return { signed: false, state: 'unsigned', signers: [], reason, recheckAt: undefined }
  }
  const groups = groupsOf(image.objects)
  const opinions: Opinion[] = []
  for (const signature of image.signatures) {
    opinions.push(await judge(signature, groups, findCertificate, thread))
  }
  const signers = await compare(image, opinions)
  // Clients pass over legacy signatures and those of groups that are not there.
  const groupOfSigner = (index: number): number => image.signatures[index]?.group ?? 0
  const counts = signers.map(
    ({ state }, index) => state !== 'legacy' && groups.includes(groupOfSigner(index)),
  )
  const counting = signers.filter((_, index) => counts[index])
  const unsignedGroups = groups.filter(
    (group) => !counts.some((counted, index) => counted && groupOfSigner(index) === group),
  )
  const times = opinions.flatMap(({ recheckAt }) => recheckAt?.getTime() ?? [])
  const recheckAt = times.length === 0 ? undefined : new Date(Math.min(...times))
  return { signed: true, signers, ...conclude(image, unsignedGroups, signers, counting), recheckAt }
}

/** Who has signed, and whether the signature as such holds. */
async function judge(
  { fingerprint, form, group }: SignatureObject,
  groups: readonly number[],
  findCertificate: FindCertificate,
  thread: SignatureThread,
): Promise<Opinion> {
  const claimed = { fingerprint, keyId: fingerprint?.slice(-16), at: undefined }
  const opinion = (
    state: Signer['state'],
    reason: string,
    known: Partial<Signer> = {},
    recheckAt?: Date,
  ): Opinion => ({
    signer: { ...claimed, state, reason, ...known },
    statement: undefined,
    recheckAt,
  })
  if (form.kind === 'dsse') {
    return opinion(
      'dsse',
      'Signed with a key in PEM (DSSE): who has the public key checks it with `apptainer verify --key`.',
    )
  }
  if (form.kind === 'legacy') {
    return opinion(
      'legacy',
      'Signed in the way of Singularity before 3.6, which does not protect the whole image: sign it again.',
    )
  }
  if (form.kind === 'unreadable') return opinion('invalid', sentence(form.reason))
  if (group === undefined || !groups.includes(group)) {
    return opinion('invalid', 'This signature belongs to no group of objects of the image.')
  }
  const finding = await thread.check(form.message, (name) => findCertificate(name, fingerprint))
  if (finding.kind === 'bad') {
    return opinion('invalid', sentence(finding.reason), {}, finding.again)
  }
  if (finding.kind === 'unknown-key') {
    const { keyId } = finding
    return opinion(
      'unknown-key',
      `Signed by the key ${finding.fingerprint ?? keyId}, which is not in this keystore: ` +
        'its owner can send it with `apptainer key push`.',
      { fingerprint: fingerprint ?? finding.fingerprint, keyId },
    )
  }
  const { keyId, at } = finding
  if (finding.fingerprint !== fingerprint) {
    return opinion('invalid', sentence('the image names another key than the one that signed'), {
      fingerprint: finding.fingerprint,
      keyId,
      at,
    })
  }
  return {
    signer: { fingerprint, keyId, at, state: 'verified', reason: undefined },
    statement: { group, signed: Buffer.from(finding.signed) },
    recheckAt: finding.until,
  }
}

/** Holds what good signatures state against the file. */
async function compare(
  image: SignedImage,
  opinions: readonly Opinion[],
): Promise<readonly Signer[]> {
  const statements = opinions.flatMap(({ statement }) => statement ?? [])
  const coverages = (await checkStatements(image, statements)).values()
  return opinions.map(({ signer, statement }) => {
    const coverage = statement === undefined ? undefined : coverages.next().value
    return coverage === undefined ? signer : { ...signer, ...stateOf(coverage) }
  })
}

function stateOf(coverage: Coverage): Pick<Signer, 'state' | 'reason'> {
  if (coverage.kind === 'whole') return { state: 'verified', reason: undefined }
  if (coverage.kind === 'broken') return { state: 'invalid', reason: sentence(coverage.reason) }
  return {
    state: 'partial',
    reason: `This signature leaves out ${objectList(coverage.unsigned)} of its group.`,
  }
}

/** What the image as a whole is worth. */
function conclude(
  { objects }: SignedImage,
  unsignedGroups: readonly number[],
  signers: readonly Signer[],
  counting: readonly Signer[],
): Pick<Verdict, 'state' | 'reason'> {
  if (counting.length === 0) {
    const said = signers.find(({ state }) => state === 'legacy') ?? signers[0]
    return { state: said?.state ?? 'invalid', reason: said?.reason }
  }
  for (const worst of WORST_FIRST) {
    const said = counting.find(({ state }) => state === worst)
    if (said !== undefined) return { state: worst, reason: said.reason }
  }
  if (unsignedGroups.length > 0) {
    const reason = `Nobody has signed group ${unsignedGroups[0]} of the objects of this image.`
    return { state: 'partial', reason }
  }
  const loose = objects.filter(
    (object) => groupOf(object) === 0 && object.dataType !== DataType.signature,
  )
  if (loose.length > 0) {
    const list = objectList(loose.map(({ id }) => id))
    return { state: 'partial', reason: `Nobody can have signed ${list}, being in no group.` }
  }
  return { state: 'verified', reason: undefined }
}

function objectList(ids: readonly number[]): string {
  const [first, ...others] = ids
  if (others.length === 0) return `object ${first}`
  return others.length > 4
    ? `object ${first} and ${others.length} others`
    : `objects ${ids.join(', ')}`
}

function sentence(reason: string): string {
  return `This signature does not hold: ${reason}.`
}
