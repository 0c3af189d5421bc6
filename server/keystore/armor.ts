/**
 * ASCII armor (RFC 9580, 6): both directions, bounded and linear in the length of the text. The
 * checksum is written, because old readers want it, and never trusted: RFC 9580 forbids to refuse a
 * block for it, and the signatures of the key say more.
 */
import { invalid } from '../failure.ts'
import type { Failure } from '../failure.ts'

const maxHeaderLines = 32
const maxHeaderLength = 1024
const columns = 64

const begin = '-----BEGIN PGP PUBLIC KEY BLOCK-----'
const end = '-----END PGP PUBLIC KEY BLOCK-----'

/** The armored form of a binary certificate, with LF at the ends of its lines. */
export function armor(bytes: Uint8Array): string {
  const data = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  const lines = data.toString('base64').match(new RegExp(`.{1,${columns}}`, 'g')) ?? []
  return [begin, '', ...lines, `=${checksum(data)}`, end, ''].join('\n')
}

/**
 * The bytes of the one public key block in a text; what stands before and behind it is not looked
 * at. Failure `invalid` for anything else.
 */
export function unarmor(text: string): Buffer {
  const lines = text.split(/\r\n|\n|\r/).map((line) => line.trim())
  const kinds = lines.flatMap(
    (line) => /^-----BEGIN PGP ([A-Z0-9 ,/]+)-----$/.exec(line)?.[1] ?? [],
  )
  if (kinds.some((kind) => /PRIVATE|SECRET/.test(kind))) throw secretKey()
  if (kinds.length > 1) throw severalKeys()
  const [kind] = kinds
  if (kind === undefined) {
    throw invalid('key', `This is not an OpenPGP public key: no line "${begin}" is in it.`)
  }
  if (kind !== 'PUBLIC KEY BLOCK') {
    throw invalid('key', `This is a PGP ${kind.toLowerCase()}, not a public key.`)
  }
  const first = lines.indexOf(begin) + 1
  const last = lines.indexOf(end, first)
  if (last === -1) throw invalid('key', `The key is cut off: the line "${end}" is missing.`)
  return decode(lines.slice(afterHeaders(lines, first, last), last))
}

export function secretKey(): Failure {
  return invalid(
    'key',
    'This is a secret key; nothing was stored. It has been on the network: if others may have seen it, revoke it and make a new one. Publish the public key only (singularity key push, gpg --export --armor).',
  )
}

export function severalKeys(): Failure {
  return invalid('key', 'There are several keys in this block: send one at a time.')
}

/** Where the data begins: behind the empty line that ends the headers. */
function afterHeaders(lines: readonly string[], first: number, last: number): number {
  const empty = lines.indexOf('', first)
  if (empty === -1 || empty >= last) {
    throw invalid('key', 'The key block has no empty line between its headers and its data.')
  }
  const headers = lines.slice(first, empty)
  if (headers.length > maxHeaderLines || headers.some(({ length }) => length > maxHeaderLength)) {
    throw invalid(
      'key',
      `The key block has more than ${maxHeaderLines} header lines, or one of more than ${maxHeaderLength} characters.`,
    )
  }
  if (!headers.every((line) => /^[^:]+:/.test(line))) {
    throw invalid('key', 'The key block has a header line without a colon.')
  }
  return empty + 1
}

function decode(lines: readonly string[]): Buffer {
  const sum = lines.findIndex((line) => line.startsWith('='))
  // The padding of the data may have a line to itself; a checksum has four characters behind it.
  const isChecksum = sum !== -1 && /^=[A-Za-z0-9+/]{4}$/.test(lines[sum] ?? '')
  const body = lines.slice(0, isChecksum ? sum : undefined).join('')
  const tail = isChecksum ? lines.slice(sum + 1).join('') : ''
  if (!/^[A-Za-z0-9+/]+={0,2}$/.test(body) || tail !== '') {
    throw invalid('key', 'The data of the key block is not base64: export and send it again.')
  }
  return Buffer.from(body, 'base64')
}

const generator = 0x1864cfb

/** CRC-24 (RFC 9580, 6.1) in base64. */
function checksum(bytes: Buffer): string {
  let crc = 0xb704ce
  for (const byte of bytes) {
    crc = (table[((crc >> 16) ^ byte) & 0xff] ?? 0) ^ ((crc << 8) & 0xffffff)
  }
  const octets = Buffer.alloc(3)
  octets.writeUIntBE(crc, 0, 3)
  return octets.toString('base64')
}

const table = Int32Array.from({ length: 256 }, (_, byte) => {
  let crc = byte << 16
  for (let bit = 0; bit < 8; bit += 1) {
    crc <<= 1
    if ((crc & 0x1000000) !== 0) crc ^= generator
  }
  return crc
})
