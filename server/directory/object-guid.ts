/**
 * Active Directory's objectGUID: 16 bytes, of which the first three groups are little-endian
 * (MS-DTYP, 2.3.4.2). As text it is what other tools of the site show.
 */

/** Undefined when there are not 16 bytes. */
export function guidText(bytes: Buffer): string | undefined {
  if (bytes.length !== 16) return undefined
  const hex = reordered(bytes).toString('hex')
  return hex.replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, '$1-$2-$3-$4-$5')
}

/** Undefined for a text that is no GUID. */
export function guidBytes(text: string): Buffer | undefined {
  if (!/^[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}$/.test(text)) return undefined
  return reordered(Buffer.from(text.replaceAll('-', ''), 'hex'))
}

function reordered(bytes: Buffer): Buffer {
  const result = Buffer.from(bytes)
  result.subarray(0, 4).reverse()
  result.subarray(4, 6).reverse()
  result.subarray(6, 8).reverse()
  return result
}
