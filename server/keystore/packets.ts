/**
 * OpenPGP packet framing (RFC 9580, 4.2): pure, linear, and only what a certificate may use. Keys,
 * user IDs and signatures have a known length, so that partial and indeterminate ones are refused.
 */
import { invalid } from '../failure.ts'

/** Packet types (RFC 9580, 5) that the keystore tells apart; it drops all others. */
export const Tag = {
  signature: 2,
  secretKey: 5,
  publicKey: 6,
  secretSubkey: 7,
  /** To be ignored wherever it stands. */
  marker: 10,
  userId: 13,
  publicSubkey: 14,
  userAttribute: 17,
} as const

export interface Packet {
  readonly tag: number
  readonly body: Uint8Array
}

/** A signature subpacket (RFC 9580, 5.2.3.7). */
export interface Subpacket {
  readonly type: number
  readonly body: Uint8Array
}

/** All packets; Failure `invalid` where the bytes are no sequence of them. */
export function readPackets(bytes: Uint8Array): Packet[] {
  const packets: Packet[] = []
  let at = 0
  while (at < bytes.length) {
    const first = bytes[at] ?? 0
    if ((first & 0x80) === 0) throw invalid('key', 'This is not an OpenPGP public key.')
    const isNewFormat = (first & 0x40) !== 0
    const tag = isNewFormat ? first & 0x3f : (first >> 2) & 0x0f
    const length = isNewFormat
      ? newFormatLength(bytes, at + 1)
      : oldFormatLength(bytes, at + 1, first & 3)
    if (length === undefined) {
      throw invalid('key', 'The key has a packet without a length, which keys never have.')
    }
    const end = length.next + length.bytes
    if (end > bytes.length) {
      throw invalid('key', 'The key is cut off: export and send it again.')
    }
    packets.push({ tag, body: bytes.subarray(length.next, end) })
    at = end
  }
  return packets
}

/** In the new format with the shortest length, which is the canonical form. */
export function writePackets(packets: readonly Packet[]): Buffer {
  return Buffer.concat(packets.flatMap(({ tag, body }) => [header(tag, body.length), body]))
}

/** The subpackets of an area; undefined where the bytes are no sequence of them. */
export function readSubpackets(area: Uint8Array): Subpacket[] | undefined {
  const found: Subpacket[] = []
  let at = 0
  while (at < area.length) {
    const length = subpacketLength(area, at)
    // The length counts the type's octet.
    if (length === undefined || length.bytes === 0) return undefined
    const end = length.next + length.bytes
    if (end > area.length) return undefined
    const type = (area[length.next] ?? 0) & 0x7f
    found.push({ type, body: area.subarray(length.next + 1, end) })
    at = end
  }
  return found
}

/** The area of these subpackets, without the octets that count it; none is critical. */
export function writeSubpackets(subpackets: readonly Subpacket[]): Buffer {
  return Buffer.concat(
    subpackets.flatMap(({ type, body }) => [
      lengthOctets(body.length + 1),
      Uint8Array.of(type),
      body,
    ]),
  )
}

/** A big-endian number of `octets` octets; undefined where the bytes end before. */
export function numberAt(bytes: Uint8Array, at: number, octets: number): number | undefined {
  if (at + octets > bytes.length) return undefined
  let value = 0
  for (let i = at; i < at + octets; i += 1) value = value * 256 + (bytes[i] ?? 0)
  return value
}

interface Length {
  readonly bytes: number
  /** Where what it counts begins. */
  readonly next: number
}

function newFormatLength(bytes: Uint8Array, at: number): Length | undefined {
  const first = bytes[at] ?? 0
  // A partial length, of which the rest would follow somewhere behind.
  if (first >= 224 && first < 255) return undefined
  return subpacketLength(bytes, at)
}

/** Lengths of subpackets are those of new packets, where the partial ones stand for two octets. */
function subpacketLength(bytes: Uint8Array, at: number): Length | undefined {
  const first = bytes[at]
  if (first === undefined) return undefined
  if (first < 192) return { bytes: first, next: at + 1 }
  if (first === 255) return fixedLength(bytes, at + 1, 4)
  const second = bytes[at + 1]
  return second === undefined
    ? undefined
    : { bytes: (first - 192) * 256 + second + 192, next: at + 2 }
}

function oldFormatLength(bytes: Uint8Array, at: number, type: number): Length | undefined {
  return type === 3 ? undefined : fixedLength(bytes, at, 2 ** type)
}

function fixedLength(bytes: Uint8Array, at: number, octets: number): Length | undefined {
  const value = numberAt(bytes, at, octets)
  return value === undefined ? undefined : { bytes: value, next: at + octets }
}

function header(tag: number, length: number): Buffer {
  return Buffer.concat([Uint8Array.of(0xc0 | tag), lengthOctets(length)])
}

function lengthOctets(length: number): Uint8Array {
  if (length < 192) return Uint8Array.of(length)
  if (length < 8384) {
    return Uint8Array.of(192 + Math.floor((length - 192) / 256), (length - 192) % 256)
  }
  const octets = Buffer.alloc(5, 0xff)
  octets.writeUInt32BE(length, 1)
  return octets
}
