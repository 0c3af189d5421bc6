/** What damaged and hostile images do: they are refused or found out, and end no thread. */
import assert from 'node:assert/strict'
import { after, describe, test } from 'node:test'

import { Failure } from '../../server/failure.ts'
import { SignatureThread } from '../../server/keystore/clear-signed.ts'
import { verdictOf } from '../../server/keystore/image-verdict.ts'
import { seededPicker } from '../support/seeded-picker.ts'
import { makeSif, memorySource } from '../support/sif.ts'
import { keystoreOf, makeKey, protectedParts, signSif } from '../support/signed-sif.ts'

const [TABLE, DATA] = [4096, 32_768]
const thread = new SignatureThread()
const alice = await makeKey('alice')
const keystore = keystoreOf(alice.publicKey)
after(() => thread.close())

describe('hostile images', () => {
  const mutations = Number(process.env['BERTH_FUZZ'] ?? 10_000)

  test(`${mutations} mutations: verified only where nothing that is signed has changed`, async () => {
    const pick = seededPicker(20_240_301)
    const original = await signSif(makeSif({ payload: 64, definition: 'x', seed: 'fuzz' }), alice)
    const signed = protectedParts(original, 1)
    const outcomes = new Map<string, number>()
    for (let round = 0; round < mutations; round += 1) {
      const mutant = mutate(original, pick)
      const outcome = await outcomeOf(mutant).catch((error: unknown) => {
        throw new Error(`mutation ${round}`, { cause: error })
      })
      // Whatever is called verified must be what was signed, byte for byte.
      if (outcome === 'verified') {
        assert.deepEqual(protectedParts(mutant, 1), signed, `mutation ${round}`)
      }
      outcomes.set(outcome, (outcomes.get(outcome) ?? 0) + 1)
    }
    for (const outcome of ['verified', 'invalid', 'refused']) {
      const count = outcomes.get(outcome) ?? 0
      assert.ok(count > mutations / 20, `only ${count} were ${outcome}`)
    }
  })
})

async function outcomeOf(image: Buffer): Promise<string> {
  try {
    return (await verdictOf(memorySource(image), keystore, thread)).state
  } catch (error) {
    if (error instanceof Failure && error.kind === 'invalid') return 'refused'
    throw error
  }
}

function mutate(original: Buffer, pick: (below: number) => number): Buffer {
  const mutant = Buffer.from(original)
  for (let changes = 1 + pick(3); changes > 0; changes -= 1) {
    const slot = mutant.subarray(TABLE + pick(4) * 585)
    switch (pick(6)) {
      case 0:
        mutant.writeUInt8(pick(256), pick(128))
        break
      case 1:
        slot.writeUInt8(pick(256), pick(585))
        break
      case 2: // a small number where IDs, groups, links, places and sizes are
        slot.writeUInt8(pick(6), 4 + pick(30))
        break
      case 3: // any byte of a content
        mutant.writeUInt8(pick(256), DATA + pick(mutant.length - DATA))
        break
      case 4: // a byte of the signature, which is the last object
        mutant.writeUInt8(pick(256), mutant.length - 1 - pick(600))
        break
      default: // a place
        slot.writeBigInt64LE(BigInt(pick(mutant.length)), 17)
    }
  }
  return mutant
}
