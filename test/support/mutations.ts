/** Damaged certificates for fuzz runs: what a bad line, a bad program or a bad person makes of one. */
import { writePackets } from '../../server/keystore/packets.ts'
import type { Packet } from '../../server/keystore/packets.ts'

/** The same numbers for the same seed (xorshift, 32 bits). */
export class Dice {
  #state: number

  constructor(seed: number) {
    // Small seeds begin with small numbers: spread them (the golden ratio's bits), and never zero.
    this.#state = Math.imul(seed, 0x9e3779b1) | 1
  }

  /** A whole number from 0, below `end`. */
  below(end: number): number {
    this.#state ^= this.#state << 13
    this.#state ^= this.#state >>> 17
    this.#state ^= this.#state << 5
    return (this.#state >>> 0) % end
  }

  of<Item>(items: readonly Item[]): Item {
    const item = items[this.below(items.length)]
    if (item === undefined) throw new RangeError('there is nothing to choose from')
    return item
  }
}

type Packets = readonly Packet[]
type PacketChange = (packets: Packets, dice: Dice, others: Packets) => Packets

/** Values at which lengths and kinds change their meaning. */
const edges = [0, 1, 2, 6, 7, 0x7f, 0x80, 0xbf, 0xc0, 0xdf, 0xe0, 0xfe, 0xff]

/** One to three changes of packets, bytes or text; text stands for an armored block. */
export function mutate(packets: Packets, others: Packets, dice: Dice): Buffer {
  let changed = packets
  for (let round = dice.below(3); round >= 0; round -= 1) {
    changed = dice.of(packetChanges)(changed, dice, others)
  }
  const bytes = Buffer.from(writePackets(changed))
  // Half of them keep their framing, so that the damage gets as far as the signatures.
  return dice.below(2) === 0 ? bytes : mutateBytes(bytes, dice)
}

/** One change anywhere, lengths and kinds of packets among it. */
export function mutateBytes(bytes: Buffer, dice: Dice): Buffer {
  if (bytes.length === 0) return bytes
  const copy = Buffer.from(bytes)
  const at = dice.below(copy.length)
  const chunk = Buffer.from(copy.subarray(at, at + 1 + dice.below(300)))
  switch (dice.below(5)) {
    case 0:
      return copy.subarray(0, at)
    case 1:
      return Buffer.concat([copy.subarray(0, at), copy.subarray(at + chunk.length)])
    case 2:
      return Buffer.concat([copy.subarray(0, at), chunk, copy.subarray(at)])
    case 3:
      copy.writeUInt8(dice.of(edges), at)
      return copy
    default:
      copy.writeUInt8(copy.readUInt8(at) ^ (1 << dice.below(8)), at)
      return copy
  }
}

const packetChanges: readonly PacketChange[] = [
  // Bytes of one packet, whose length stays right.
  (packets, dice) => {
    const at = dice.below(packets.length)
    return packets.map((packet, i) =>
      i === at ? { ...packet, body: mutateBytes(Buffer.from(packet.body), dice) } : packet,
    )
  },
  // Another kind of packet.
  (packets, dice) => {
    const at = dice.below(packets.length)
    const tag = dice.below(64)
    return packets.map((packet, i) => (i === at ? { ...packet, tag } : packet))
  },
  (packets, dice) => {
    const at = dice.below(packets.length)
    return packets.length === 1 ? packets : packets.filter((_, i) => i !== at)
  },
  (packets, dice) => inserted(packets, dice.of(packets), dice),
  (packets, dice, others) => inserted(packets, dice.of(others), dice),
  (packets, dice) => {
    const [one, other] = [dice.below(packets.length), dice.below(packets.length)]
    return packets.map((packet, i) => packets[i === one ? other : i === other ? one : i] ?? packet)
  },
  (packets, dice) => {
    const body = Buffer.alloc(dice.below(600), dice.below(256))
    return inserted(packets, { tag: dice.below(64), body }, dice)
  },
]

function inserted(packets: Packets, packet: Packet, dice: Dice): Packets {
  const at = dice.below(packets.length + 1)
  return [...packets.slice(0, at), packet, ...packets.slice(at)]
}
