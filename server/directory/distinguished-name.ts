/** Distinguished names as texts (RFC 4514): written safely, read as far as groups need it. */

/** One relative distinguished name: its attributes, lower-cased, with their values. */
export type Rdn = ReadonlyMap<string, string>

/** A value as it may stand in a distinguished name, whatever is in it. */
export function escapeRdnValue(value: string): string {
  return value
    .replace(/[\\",;+<>=#]/g, '\\$&')
    .replace(/\p{Cc}/gu, (letter) =>
      [...Buffer.from(letter)].map((byte) => `\\${byte.toString(16).padStart(2, '0')}`).join(''),
    )
    .replace(/^ | $/g, '\\20')
}

/** Undefined for a text that is no distinguished name. */
export function parseDn(text: string): readonly Rdn[] | undefined {
  if (text === '') return []
  const rdns: Rdn[] = []
  for (const part of splitOutsideEscapes(text, ',')) {
    const rdn = new Map<string, string>()
    for (const pair of splitOutsideEscapes(part, '+')) {
      const match = /^\s*([a-zA-Z][a-zA-Z0-9-]*|\d+(?:\.\d+)+)\s*=\s*(.*)$/s.exec(pair)
      if (match === null) return undefined
      rdn.set(String(match[1]).toLowerCase(), unescapeValue(String(match[2])))
    }
    rdns.push(rdn)
  }
  return rdns
}

/** Whether an entry is the base or stands below it. Case and blanks at the ends do not matter. */
export function isWithin(name: readonly Rdn[], base: readonly Rdn[]): boolean {
  const tail = name.slice(name.length - base.length)
  return name.length >= base.length && tail.every((rdn, index) => isSame(rdn, base[index]))
}

function isSame(one: Rdn, other: Rdn | undefined): boolean {
  if (one.size !== other?.size) return false
  return [...one].every(
    ([attribute, value]) => other.get(attribute)?.toLowerCase() === value.toLowerCase(),
  )
}

function splitOutsideEscapes(text: string, separator: string): string[] {
  const parts = ['']
  for (const [piece] of text.matchAll(/\\.|[^\\]|\\$/gsu)) {
    if (piece === separator) parts.push('')
    else parts[parts.length - 1] += piece
  }
  return parts
}

function unescapeValue(text: string): string {
  // Blanks at the end are not part of the value, unless the last one is escaped.
  const trimmed = text.replace(/(\\ )? *$/, '$1')
  const bytes: Buffer[] = []
  for (const [piece, hex, escaped] of trimmed.matchAll(/\\([0-9a-fA-F]{2})|\\(.)|[^\\]|\\$/gsu)) {
    bytes.push(hex === undefined ? Buffer.from(escaped ?? piece) : Buffer.from(hex, 'hex'))
  }
  return Buffer.concat(bytes).toString()
}
