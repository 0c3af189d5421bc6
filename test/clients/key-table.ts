/** What `key search -l` prints (apptainer internal/pkg/sypgp, formatMROutputLongList). */
import assert from 'node:assert/strict'

export interface ShownKey {
  readonly fingerprint: string
  readonly algorithm: string
  readonly bits: number
  readonly created: Date
  readonly expires: Date | undefined
  /** `enabled`, `disabled`, `expired` or `revoked`. */
  readonly status: string
  readonly userIds: readonly string[]
}

const header = /^FINGERPRINT +ALGORITHM +BITS +CREATION DATE +EXPIRATION DATE +STATUS +NAME\/EMAIL$/
const time = String.raw`(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d \+0000) UTC`
const row = new RegExp(
  String.raw`^([0-9A-F]{40}) +(\S+) +(\d+) +${time} +(?:${time} +)?\[(\w+)\] +(\S.*)$`,
)

/** Of each key one row, its other user IDs on lines of their own, an empty line behind it. */
export function keysIn(output: string): readonly ShownKey[] {
  const [count = '', empty, head = '', ...lines] = output.trimEnd().split('\n')
  assert.match(head, header, output)
  const keys = `${lines.join('\n')}\n`.split(/\n(?:\n|$)/).filter((text) => text !== '')
  assert.deepEqual([count, empty], [`Showing ${keys.length} results`, ''], output)
  return keys.map(keyOf)
}

function keyOf(text: string): ShownKey {
  const [first = '', ...others] = text.split('\n')
  const [
    ,
    fingerprint = '',
    algorithm = '',
    bits,
    created = '',
    expires,
    status = '',
    userId = '',
  ] = row.exec(first) ?? assert.fail(`not a key: ${first}`)
  return {
    fingerprint,
    algorithm,
    bits: Number(bits),
    created: new Date(created),
    expires: expires === undefined ? undefined : new Date(expires),
    status,
    userIds: [userId, ...others.map((line) => line.trim())],
  }
}
