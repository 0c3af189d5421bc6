/**
 * The frame of a clear-signed message (RFC 9580, 7): which bytes are signed and where the signature
 * is. It is read in the way of the clients (ProtonMail/go-crypto openpgp/clearsign, Decode), and only
 * here, so that what is verified and what is understood can never be two different texts.
 * Pure and linear.
 */

export interface ClearSigned {
  /** Exactly the bytes that are signed: lines end with CR LF, without dash escapes or final newline. */
  readonly signed: Buffer
  /** From `-----BEGIN PGP SIGNATURE-----` to its end line, not looked into. */
  readonly armoredSignature: string
}

const BEGIN_MESSAGE = '-----BEGIN PGP SIGNED MESSAGE-----'
const BEGIN_SIGNATURE = '-----BEGIN PGP SIGNATURE-----'
const END_SIGNATURE = '\n-----END PGP SIGNATURE-----'

/** Names that a header may state. It promises nothing: the signature itself says its hash. */
const HASH_NAMES = new Set([
  'MD5',
  'SHA1',
  'RIPEMD160',
  'SHA224',
  'SHA256',
  'SHA384',
  'SHA512',
  'SHA3-256',
  'SHA3-512',
])

/** The first clear-signed message in the bytes; undefined where a client would see none. */
export function readClearSigned(bytes: Buffer): ClearSigned | undefined {
  // One character for each byte, so that nothing is replaced on the way.
  const text = bytes.toString('latin1')
  const lines = new Lines(text, afterBegin(text))
  if (lines.next() !== '' || !skipHeaders(lines)) return undefined
  const body: string[] = []
  for (;;) {
    const start = lines.position
    const line = lines.next()
    if (line === undefined) return undefined
    if (line === BEGIN_SIGNATURE) {
      const end = text.indexOf(END_SIGNATURE, start)
      // Without a single line there is no message: clients fail on that.
      if (end === -1 || body.length === 0) return undefined
      return {
        signed: Buffer.from(body.join('\r\n'), 'latin1'),
        armoredSignature: `${text.slice(start, end)}${END_SIGNATURE}\n`,
      }
    }
    body.push(withoutTrailingBlanks(line.startsWith('- ') ? line.slice(2) : line))
  }
}

function afterBegin(text: string): number {
  if (text.startsWith(BEGIN_MESSAGE)) return BEGIN_MESSAGE.length
  const found = text.indexOf(`\n${BEGIN_MESSAGE}`)
  return found === -1 ? text.length : found + 1 + BEGIN_MESSAGE.length
}

/** Headers end with an empty line, and `Hash` is the only one: others could mislead who reads them. */
function skipHeaders(lines: Lines): boolean {
  for (;;) {
    const line = lines.next()
    if (line === undefined) return false
    if (line.trim() === '') return true
    const colon = line.indexOf(':')
    if (colon === -1 || !/^[ -~]*$/.test(line)) return false
    if (line.slice(0, colon).trim() !== 'Hash') return false
    const names = line.slice(colon + 1).split(',')
    if (!names.every((name) => HASH_NAMES.has(name.trim().toUpperCase()))) return false
  }
}

/** Not by a pattern: `/[ \t]+$/` takes the square of the length on a line of blanks. */
function withoutTrailingBlanks(line: string): string {
  let end = line.length
  while (end > 0 && (line[end - 1] === ' ' || line[end - 1] === '\t')) end -= 1
  return line.slice(0, end)
}

class Lines {
  /** Where the next line begins. */
  position: number
  readonly #text: string

  constructor(text: string, position: number) {
    this.#text = text
    this.position = position
  }

  /** Without its LF or CR LF; undefined at the end of the text. */
  next(): string | undefined {
    if (this.position >= this.#text.length) return undefined
    const newline = this.#text.indexOf('\n', this.position)
    const end = newline === -1 ? this.#text.length : newline
    const line = this.#text.slice(this.position, end)
    this.position = newline === -1 ? end : newline + 1
    return newline !== -1 && line.endsWith('\r') ? line.slice(0, -1) : line
  }
}
