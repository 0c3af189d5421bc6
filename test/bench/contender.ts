import type { OciClient } from './oci-client.ts'
import type { Payload } from './payload.ts'

export const contenderNames = ['berth', 'nginx', 'registry'] as const
export type ContenderName = (typeof contenderNames)[number]

/** One PUT of the whole file, or one request after the other with a piece each. */
export type UploadForm = 'whole' | 'pieces'

/** A server that runs, and how the benchmark's work is done with it. */
export interface Contender {
  readonly name: ContenderName
  readonly version: string
  /** Its first process; the descendants are measured with it. */
  readonly pid: number
  readonly uploadForms: readonly UploadForm[]
  /** What a client does before the bytes; the clock is not running yet. */
  prepareUpload(payload: Payload, form: UploadForm): Promise<Upload>
  /** Where a stored payload is read from. Asked for every sample: addresses may expire. */
  downloadTarget(payload: Payload): Promise<Target>
  /** The record of a stored payload that a pull reads first; undefined: it has no such thing. */
  readonly metadataTarget: ((payload: Payload) => Promise<Target>) | undefined
  /** Searches among 100,000 keys, which are put there when it is first asked for. */
  readonly keySearches?: () => Promise<KeySearches>
  /** Undefined: it does not speak the registry's protocol. */
  readonly oci?: OciDoor
  stop(): Promise<void>
}

export interface KeySearches {
  readonly words: Target
  readonly mail: Target
  readonly fingerprint: Target
}

export interface OciDoor {
  readonly client: OciClient
  /** Of a blob that was pushed, with its file: the disk does not fill up over the rounds. */
  remove(payload: Payload): Promise<void>
}

export interface Upload {
  /** From the first request that belongs to the bytes until the server says that they are stored. */
  send(): Promise<void>
  /** Afterwards, so that the disk does not fill up over the rounds. */
  remove(): Promise<void>
}

export interface Target {
  readonly url: string
  readonly headers: Readonly<Record<string, string>>
}

/** A peer that this machine cannot run. */
export class MissingContender extends Error {
  override readonly name = 'MissingContender'
}
