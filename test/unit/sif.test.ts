/** The SIF rules of protocol.md 9.4, what is derived from a file, and what hostile files can do. */
import assert from 'node:assert/strict'
import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, test } from 'node:test'

import { Failure } from '../../server/failure.ts'
import { inspectSif } from '../../server/sif/inspect.ts'
import type { SifFacts } from '../../server/sif/inspect.ts'
import { seededPicker } from '../support/seeded-picker.ts'
import { makeSif, memorySource, partitionExtra } from '../support/sif.ts'
import type { SifObject } from '../support/sif.ts'

const FINGERPRINT = '1137E72E6816BFC06D9CAA0D15F3F4F4F14B03B2'
const OTHER_FINGERPRINT = '00000000000000000000000000000000000000FF'
const REAL_IMAGES = join(import.meta.dirname, '../../../../shared/testdata')

const [FREE, TOTAL, TABLE_OFFSET, TABLE_BYTES, DATA_OFFSET] = [80, 88, 96, 104, 112]
const TABLE = 4096
const TABLE_END = TABLE + 48 * 585
const [OBJECT_OFFSET, OBJECT_SIZE] = [TABLE + 17, TABLE + 25] // of the first object
const INT64_MAX = 2n ** 63n - 1n

const inspect = (image: Buffer): Promise<SifFacts> => inspectSif(memorySource(image))

/** A one-partition image with 64-bit fields changed: pairs of position and value. */
function withFields(...fields: readonly (readonly [number, bigint | number])[]): Buffer {
  const image = makeSif()
  for (const [position, value] of fields) image.writeBigInt64LE(BigInt(value), position)
  return image
}

function withBytes(position: number, bytes: string, image = makeSif()): Buffer {
  image.write(bytes, position, 'latin1')
  return image
}

/** The image with its table moved to the end and grown to `slots` slots. */
function withTableAtEnd(slots: number): Buffer {
  const image = makeSif()
  const table = Buffer.alloc(slots * 585)
  image.copy(table, 0, TABLE, TABLE_END)
  image.fill(0, TABLE, TABLE_END)
  image.writeBigInt64LE(BigInt(slots - 1), FREE)
  image.writeBigInt64LE(BigInt(slots), TOTAL)
  image.writeBigInt64LE(BigInt(image.length), TABLE_OFFSET)
  image.writeBigInt64LE(BigInt(table.length), TABLE_BYTES)
  return Buffer.concat([image, table])
}

function withoutObjects(): Buffer {
  const image = makeSif().subarray(0, TABLE_END)
  image.writeUInt8(0, TABLE + 4)
  image.writeBigInt64LE(48n, FREE)
  return image
}

function partition(kind: number, arch: string): SifObject {
  return { dataType: 0x4004, content: 'data', extra: partitionExtra(1, kind, `${arch}\0`) }
}

const labelsObject = (content: Buffer | string): SifObject => ({ dataType: 0x4003, content })

const inspection = (content: string): SifObject => ({
  dataType: 0x4006,
  name: 'inspect-metadata.json',
  content,
})

describe('a file is refused, with advice for its pusher, when', () => {
  const size = makeSif().length
  const cases: readonly (readonly [string, Buffer, RegExp])[] = [
    ['it is empty', Buffer.alloc(0), /not a SIF image/],
    ['it is shorter than a header', makeSif().subarray(0, 127), /not a SIF image/],
    ['it is something else', Buffer.alloc(4096, 'text\n'), /not a SIF image/],
    ['its magic lacks the final NUL', withBytes(41, ' '), /not a SIF image/],
    ['its version is 02', withBytes(42, '02'), /version other than 01/],
    ['its version lacks the final NUL', withBytes(44, ' '), /version other than 01/],
    ['it has 0 descriptors', withFields([TOTAL, 0], [TABLE_BYTES, 0]), /states 0 descriptors/],
    ['it has −1 descriptors', withFields([TOTAL, -1], [TABLE_BYTES, -585]), /states -1 desc/],
    ['it has 4097 descriptors', withTableAtEnd(4097), /states 4097 descriptors/],
    ['it has 2^63 − 1 descriptors', withFields([TOTAL, INT64_MAX]), /states 9223372036854775807/],
    ['its table is a byte short', withFields([TABLE_BYTES, 48 * 585 - 1]), /size of its desc/],
    ['its table is a byte long', withFields([TABLE_BYTES, 48 * 585 + 1]), /size of its desc/],
    ['its table size is negative', withFields([TABLE_BYTES, -48 * 585]), /size of its desc/],
    ['its table is before the file', withFields([TABLE_OFFSET, -1]), /table is not between/],
    ['its table is on the header', withFields([TABLE_OFFSET, 127]), /table is not between/],
    ['its table ends past the file', makeSif().subarray(0, TABLE_END - 1), /table is not between/],
    ['its table is far away', withFields([TABLE_OFFSET, INT64_MAX]), /table is not between/],
    ['it has more objects than stated', withFields([FREE, 48]), /disagree/],
    ['it has fewer objects than stated', withFields([FREE, 46]), /disagree/],
    ['its free count is negative', withFields([FREE, -1]), /disagree/],
    ['its free count is over the total', withFields([FREE, 49]), /disagree/],
    ['an object is on the header', withFields([OBJECT_OFFSET, 127]), /object 1 is not between/],
    ['an object is at 0', withFields([OBJECT_OFFSET, 0]), /object 1 is not between/],
    ['an object is before the file', withFields([OBJECT_OFFSET, -1]), /object 1 is not between/],
    ['an object is past the file', withFields([OBJECT_OFFSET, size]), /object 1 is not between/],
    ['an object is far away', withFields([OBJECT_OFFSET, INT64_MAX]), /object 1 is not between/],
    ['an object has a negative size', withFields([OBJECT_SIZE, -1]), /object 1 is not between/],
    ['an object is a byte long', withFields([OBJECT_SIZE, 4097]), /object 1 is not between/],
    ['the file is cut by a byte', makeSif().subarray(0, size - 1), /object 1 is not between/],
    ['an object is endless', withFields([OBJECT_SIZE, INT64_MAX]), /object 1 is not between/],
    [
      'offset and size of an object wrap to a small sum',
      withFields([OBJECT_OFFSET, INT64_MAX], [OBJECT_SIZE, INT64_MAX]),
      /object 1 is not between/,
    ],
    [
      'an empty object is past the file',
      withFields([OBJECT_OFFSET, size + 1], [OBJECT_SIZE, 0]),
      /object 1 is not between/,
    ],
    [
      'an object runs into the table',
      withFields([OBJECT_OFFSET, TABLE - 1], [OBJECT_SIZE, 2]),
      /object 1 overlaps/,
    ],
    [
      'an object begins in the table',
      withFields([OBJECT_OFFSET, TABLE_END - 1], [OBJECT_SIZE, 1]),
      /object 1 overlaps/,
    ],
    [
      'an object is around the table',
      withFields([OBJECT_OFFSET, 128], [OBJECT_SIZE, TABLE_END]),
      /object 1 overlaps/,
    ],
    [
      'it has two primary partitions',
      makeSif({ objects: [partition(2, '02')] }),
      /more than one primary/,
    ],
    [
      'header and primary partition disagree',
      withBytes(45, '04'),
      /says arm64 where its primary partition says amd64/,
    ],
    [
      'the header has no architecture and the primary partition has one',
      withBytes(45, '00'),
      /says an unknown architecture where its primary partition says amd64/,
    ],
  ]
  for (const [name, image, message] of cases) {
    test(name, async () => {
      const failure = await inspect(image).then(
        () => assert.fail('the image was accepted'),
        (thrown: unknown) => thrown,
      )
      assert.ok(failure instanceof Failure)
      assert.deepEqual([failure.kind, failure.subject], ['invalid', 'image'])
      assert.match(failure.message, message)
      assert.match(failure.message, /[bB]uild.* push /)
    })
  }
})

describe('a file is accepted although', () => {
  const cases: readonly (readonly [string, Buffer])[] = [
    ['bytes follow the last object', makeSif({ padding: 100_000 })],
    ['it has no launch script', withBytes(0, '\0'.repeat(32))],
    ['it has no object and its data offset is past the file', withoutObjects()],
    ['its data section is stated nonsensically', withFields([DATA_OFFSET, -1], [120, INT64_MAX])],
    ['its objects are 64 KiB aligned', makeSif({ align: 65_536, arch: 'ppc64le' })],
    ['an object has an unknown type', makeSif({ objects: [{ dataType: -1, content: 'new' }] })],
    ['an object has no name', withBytes(TABLE + 73, '\0')],
    ['an object name has no NUL', withBytes(TABLE + 73, 'x'.repeat(128))],
    ['its timestamps are negative', withFields([64, -62_135_596_800], [TABLE + 41, -1])],
    ['its timestamps are zero', withFields([64, 0], [72, 0], [TABLE + 41, 0], [TABLE + 49, 0])],
    ['its table is at the end', withTableAtEnd(48)],
    ['it has 4096 descriptors', withTableAtEnd(4096)],
    [
      'an object fills the gap before the table',
      withFields([OBJECT_OFFSET, 128], [OBJECT_SIZE, 3968]),
    ],
    ['an object touches the table', withFields([OBJECT_OFFSET, TABLE_END], [OBJECT_SIZE, 1])],
    ['an object is empty', makeSif({ payload: 0 })],
    ['an empty object is in the table', withFields([OBJECT_OFFSET, TABLE + 1], [OBJECT_SIZE, 0])],
    ['another partition has another architecture', makeSif({ objects: [partition(1, '04')] })],
    ['a slot says used with 255', withBytes(TABLE + 4, '\u{ff}')],
  ]
  for (const [name, image] of cases) {
    test(name, async () => assertWellFormed(await inspect(image)))
  }
})

describe('facts', () => {
  test('a plain image states its architecture and identity, and nothing else', async () => {
    const uuid = '4f307b4c-58a8-4753-9c0f-21dceefed4a6'
    assert.deepEqual(await inspect(makeSif({ arch: 'arm64', uuid })), {
      arch: 'arm64',
      uuid,
      signed: false,
      fingerprints: [],
      encrypted: false,
      definition: undefined,
      labels: {},
      oci: undefined,
    })
  })

  test('every architecture code has its Go name, and others none', async () => {
    const names =
      '- 386 amd64 arm arm64 ppc64 ppc64le mips mipsle mips64 mips64le s390x riscv64 loong64'
    const facts = Array.from({ length: 16 }, (_, code) =>
      inspect(withBytes(45, String(code).padStart(2, '0'), withoutObjects())),
    )
    const archs = (await Promise.all(facts)).map(({ arch }) => arch)
    assert.deepEqual(archs, [undefined, ...names.split(' ').slice(1), undefined, undefined])
  })

  test('a zero identity is none', async () => {
    const facts = await inspect(makeSif({ uuid: '00000000-0000-0000-0000-000000000000' }))
    assert.equal(facts.uuid, undefined)
  })

  test('signing keys are distinct and sorted', async () => {
    const signatures = [FINGERPRINT, OTHER_FINGERPRINT, FINGERPRINT.toLowerCase(), '']
    const facts = await inspect(
      makeSif({ signatures: signatures.map((fingerprint) => ({ fingerprint })) }),
    )
    assert.equal(facts.signed, true)
    assert.deepEqual(facts.fingerprints, [OTHER_FINGERPRINT, FINGERPRINT])
  })

  test('a DSSE signature signs without a fingerprint', async () => {
    const facts = await inspect(makeSif({ signatures: [{ fingerprint: '' }] }))
    assert.deepEqual([facts.signed, facts.fingerprints], [true, []])
  })

  test('only the primary partition makes an image encrypted', async () => {
    const overlay = { ...partition(4, '02'), extra: partitionExtra(5, 4, '02\0') }
    assert.equal((await inspect(makeSif({ encrypted: true }))).encrypted, true)
    assert.equal((await inspect(makeSif({ objects: [overlay] }))).encrypted, false)
  })

  test('a free slot counts for nothing', async () => {
    const image = makeSif({ signatures: [{ fingerprint: FINGERPRINT }] })
    image.writeUInt8(0, TABLE + 585 + 4)
    image.writeBigInt64LE(47n, FREE)
    assert.equal((await inspect(image)).signed, false)
  })

  test('an OCI-SIF tells its manifest, architecture and layers', async () => {
    const facts = await inspect(makeSif({ oci: true }))
    assert.equal(facts.arch, undefined)
    assert.match(facts.oci?.manifestDigest ?? '', /^sha256:[0-9a-f]{64}$/)
    assert.deepEqual(facts.oci, {
      manifestDigest: facts.oci?.manifestDigest,
      architecture: 'amd64',
      layerMediaTypes: ['application/vnd.sylabs.image.layer.v1.squashfs'],
    })
  })

  test('an OCI root index that leads nowhere is still one', async () => {
    const nowhere = { manifestDigest: undefined, architecture: undefined, layerMediaTypes: [] }
    const contents = ['', '{}', 'null', '[', '{"manifests":{}}', '{"manifests":[{"digest":"x"},7]}']
    for (const content of contents) {
      const facts = await inspect(makeSif({ objects: [{ dataType: 0x400a, content }] }))
      assert.deepEqual(facts.oci, nowhere, content)
    }
  })

  test('reading costs the same whatever the size of the payload', async () => {
    const source = memorySource(makeSif({ payload: 8 * 1024 * 1024, labels: { a: 'b' } }))
    let bytesRead = 0
    await inspectSif({
      size: source.size,
      read: (offset, length) => {
        bytesRead += length
        return source.read(offset, length)
      },
    })
    assert.ok(bytesRead < 32_768, `${bytesRead} bytes read`)
  })

  test('what the source throws passes through', async () => {
    const broken = { size: 40_000, read: () => Promise.reject(new Error('EIO')) }
    await assert.rejects(inspectSif(broken), { message: 'EIO' })
  })
})

describe('a definition file', () => {
  const deffile = inspection('{"data":{"attributes":{"deffile":"Bootstrap: scratch\\u0000"}}}')
  const cases: readonly (readonly [string, Buffer, string | undefined])[] = [
    ['is read from its own object', makeSif({ definition: 'From: x' }), 'From: x'],
    ['is read from the inspection', makeSif({ objects: [deffile] }), 'Bootstrap: scratch'],
    ['of its own wins', makeSif({ definition: 'From: x', objects: [deffile] }), 'From: x'],
    ['that is empty is none', makeSif({ definition: '' }), undefined],
    ['loses its NUL characters', makeSif({ definition: '\0From:\0 x\0\0' }), 'From: x'],
    ['of 1 MiB is kept', makeSif({ definition: '#'.repeat(2 ** 20) }), '#'.repeat(2 ** 20)],
    ['of more is left out', makeSif({ definition: '#'.repeat(2 ** 20 + 1) }), undefined],
    [
      'has its invalid UTF-8 replaced',
      makeSif({ objects: [{ dataType: 0x4001, content: Buffer.from([0x41, 0xff, 0x42]) }] }),
      'A\u{fffd}B',
    ],
    [
      'that would grow over 1 MiB by that is left out',
      makeSif({ objects: [{ dataType: 0x4001, content: Buffer.alloc(2 ** 20, 0xff) }] }),
      undefined,
    ],
    [
      'that is no text is none',
      makeSif({ objects: [inspection('{"data":{"attributes":{"deffile":7}}}')] }),
      undefined,
    ],
  ]
  for (const [name, image, want] of cases) {
    test(name, async () => assert.equal((await inspect(image)).definition, want))
  }
})

describe('labels', () => {
  const long = 'x'.repeat(4096)
  const many = Object.fromEntries(Array.from({ length: 300 }, (_, index) => [`label${index}`, 'x']))
  const cases: readonly (readonly [string, SifObject | undefined, Record<string, string>])[] = [
    ['come from the inspection', undefined, { from: 'inspection' }],
    ['come first from their own object', labelsObject('{"a":"1","b":""}'), { a: '1', b: '' }],
    ['may begin with a byte order mark', labelsObject('\u{feff}{"a":"1"}'), { a: '1' }],
    ['that are empty are not there', labelsObject('{}'), { from: 'inspection' }],
    ['that are not JSON are not there', labelsObject('{"a":'), { from: 'inspection' }],
    ['in a list are not there', labelsObject('["a"]'), { from: 'inspection' }],
    ['that are null are not there', labelsObject('null'), { from: 'inspection' }],
    ['that are a string are not there', labelsObject('"ab"'), { from: 'inspection' }],
    ['that are no text are left out', labelsObject('{"a":1,"b":{},"c":null,"d":"x"}'), { d: 'x' }],
    [
      'over 4 KiB are left out',
      labelsObject(
        JSON.stringify({ [long]: long, [`${long}x`]: '', a: `${long}x`, b: 'é'.repeat(2049) }),
      ),
      { [long]: long },
    ],
    ['cannot reach a prototype', labelsObject('{"__proto__":"x","a":"1"}'), { a: '1' }],
    ['can have names of methods', labelsObject('{"toString":"x"}'), { toString: 'x' }],
    [
      'lose NUL and lone surrogates',
      labelsObject(String.raw`{"a\u0000":"b\u0000\ud800 \ud83d\ude00"}`),
      { a: 'b\u{fffd} \u{1f600}' },
    ],
    [
      'over 256 KiB are not there',
      labelsObject(`{"a":"1"${' '.repeat(2 ** 18)}}`),
      { from: 'inspection' },
    ],
    [
      'nested 262,144 deep are not there',
      labelsObject('['.repeat(2 ** 18)),
      { from: 'inspection' },
    ],
  ]
  for (const [name, object, want] of cases) {
    test(name, async () => {
      const image = makeSif({
        labels: { from: 'inspection' },
        objects: object === undefined ? [] : [object],
      })
      const { labels } = await inspect(image)
      assert.deepEqual(labels, want)
      assert.equal(Object.getPrototypeOf(labels), Object.prototype)
    })
  }

  test('are at most 256', async () => {
    const { labels } = await inspect(makeSif({ labels: many }))
    assert.deepEqual(Object.keys(labels), Object.keys(many).slice(0, 256))
  })

  test('in an inspection of another shape are none', async () => {
    for (const content of ['', '{', '[]', '{"data":[]}', '{"data":{"attributes":{"labels":[]}}}']) {
      const { labels } = await inspect(makeSif({ objects: [inspection(content)] }))
      assert.deepEqual(labels, {}, content)
    }
  })
})

describe('real images', () => {
  const none = { signed: false, fingerprints: [], encrypted: false }
  const byBusybox = { signed: true, fingerprints: [FINGERPRINT], encrypted: false }
  const byPgp = {
    signed: true,
    fingerprints: ['F34371D0ACD5D09EB9BD853A80600A5FA11BBD29'],
    encrypted: false,
  }
  const cases: readonly (readonly [string, Partial<SifFacts>])[] = [
    [
      'busybox_amd64.sif',
      { ...byBusybox, arch: 'amd64', uuid: '4f307b4c-58a8-4753-9c0f-21dceefed4a6' },
    ],
    ['busybox_arm64.sif', { ...byBusybox, arch: 'arm64' }],
    ['busybox_ppc64le.sif', { ...byBusybox, arch: 'ppc64le' }],
    ['one-group.sif', { ...none, arch: '386', definition: undefined, labels: {} }],
    ['one-group-signed-pgp.sif', { ...byPgp, arch: '386' }],
    ['one-group-signed-dsse.sif', { ...none, signed: true, arch: '386', uuid: undefined }],
    ['empty.sif', { ...none, arch: undefined, oci: undefined }],
    [
      'empty.oci.sif',
      {
        ...none,
        arch: undefined,
        oci: { manifestDigest: undefined, architecture: undefined, layerMediaTypes: [] },
      },
    ],
  ]
  for (const [name, want] of cases) {
    test(name, async (t) => {
      const image = readReal(name)
      if (image === undefined)
        return t.skip(`NOT RUN: ${REAL_IMAGES}/${name} is not on this machine`)
      const facts = await inspect(image)
      assertWellFormed(facts)
      assert.deepEqual({ ...facts, ...want }, facts)
      if (name.startsWith('busybox')) {
        assert.match(facts.definition ?? '', /^BootStrap: docker\nFrom: busybox:1.33.1\n?$/i)
        assert.equal(facts.labels['org.label-schema.usage.singularity.version'], '3.8.1')
        assert.equal(facts.labels['org.label-schema.build-arch'], facts.arch)
      }
    })
  }
})

describe('hostile images', () => {
  const mutations = Number(process.env['BERTH_FUZZ'] ?? 100_000)

  test(`${mutations} mutations: refused or well described, quickly`, async () => {
    const pick = seededPicker(20_240_229)
    const originals = fuzzOriginals()
    const outcomes = { accepted: 0, refused: 0, slowestMs: 0 }
    for (let round = 0; round < mutations; round += 1) {
      const original = originals[pick(originals.length)]
      assert.ok(original !== undefined)
      const mutant = mutate(original, pick)
      const startedMs = performance.now()
      try {
        assertWellFormed(await inspect(mutant))
        outcomes.accepted += 1
      } catch (error) {
        if (!(error instanceof Failure)) throw new Error(`mutation ${round}`, { cause: error })
        outcomes.refused += 1
      }
      outcomes.slowestMs = Math.max(outcomes.slowestMs, performance.now() - startedMs)
    }
    assert.ok(outcomes.accepted > mutations / 20, `only ${outcomes.accepted} accepted`)
    assert.ok(outcomes.refused > mutations / 20, `only ${outcomes.refused} refused`)
    // The goal is 100 ms (reliability.md 3.7); the rest is for a busy machine.
    assert.ok(outcomes.slowestMs < 1000, `one inspection took ${outcomes.slowestMs} ms`)
  })

  test('objects that are costly to parse are read quickly', async () => {
    const brackets = '['.repeat(2 ** 18)
    const names = `{${Array.from({ length: 15_000 }, (_, index) => `"${index}n":"\\u0000"`).join(',')}}`
    const manifests = `{"manifests":[${'{},'.repeat(85_000)}{}]}`
    for (const content of [brackets, names, manifests, `"${String.raw`\ud800`.repeat(40_000)}"`]) {
      const objects = [
        { dataType: 0x4001, content },
        labelsObject(content),
        inspection(content),
        { dataType: 0x400a, content },
      ]
      const startedMs = performance.now()
      assertWellFormed(await inspect(makeSif({ objects })))
      const tookMs = performance.now() - startedMs
      assert.ok(tookMs < 1000, `${content.slice(0, 20)}… took ${tookMs} ms`)
    }
  })
})

function assertWellFormed(facts: SifFacts): void {
  assert.match(facts.arch ?? 'amd64', /^[a-z0-9]+$/)
  assert.match(
    facts.uuid ?? FINGERPRINT,
    /^([0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}|[0-9A-F]{40})$/,
  )
  assert.ok(facts.fingerprints.every((fingerprint) => /^[0-9A-F]{40}$/.test(fingerprint)))
  assert.equal(new Set(facts.fingerprints).size, facts.fingerprints.length)
  assert.ok(facts.signed || facts.fingerprints.length === 0)
  assertStorable(facts.definition ?? '', 2 ** 20)
  assert.ok(Object.keys(facts.labels).length <= 256)
  for (const text of Object.entries(facts.labels).flat()) assertStorable(text, 4096)
  assert.match(facts.oci?.manifestDigest ?? `sha256:${'0'.repeat(64)}`, /^sha256:[0-9a-f]{64}$/)
  for (const text of [facts.oci?.architecture ?? '', ...(facts.oci?.layerMediaTypes ?? [])]) {
    assertStorable(text, 255)
  }
}

function assertStorable(text: string, maxBytes: number): void {
  assert.equal(typeof text, 'string')
  assert.ok(Buffer.byteLength(text) <= maxBytes)
  assert.ok(!/[\0\p{Surrogate}]/u.test(text))
}

function readReal(name: string): Buffer | undefined {
  const path = join(REAL_IMAGES, name)
  return existsSync(path) ? readFileSync(path) : undefined
}

function fuzzOriginals(): readonly Buffer[] {
  const payload = 64
  const definition = 'Bootstrap: docker\nFrom: busybox\n'
  const signatures = [{ fingerprint: FINGERPRINT }]
  return [
    makeSif({ payload, definition, labels: { maintainer: 'a', version: 'é' }, signatures }),
    makeSif({
      payload,
      objects: [labelsObject('{"maintainer":"a"}')],
      signatures,
      encrypted: true,
    }),
    makeSif({ payload, oci: true }),
  ]
}

/** A copy with one to three changes where they matter: header, used slots, small objects. */
function mutate(original: Buffer, pick: (below: number) => number): Buffer {
  const mutant = Buffer.from(original)
  const size = BigInt(original.length)
  const values = [
    0n,
    1n,
    -1n,
    127n,
    128n,
    4095n,
    4096n,
    BigInt(TABLE_END),
    size - 1n,
    size,
    size + 1n,
  ]
  values.push(INT64_MAX, -INT64_MAX - 1n, 2n ** 32n, 2n ** 53n, 48n * 585n)
  const value = (): bigint => values[pick(values.length)] ?? 0n
  for (let changes = 1 + pick(3); changes > 0; changes -= 1) {
    const slot = TABLE + pick(6) * 585
    switch (pick(6)) {
      case 0: // a 64-bit field of the header
        mutant.writeBigInt64LE(value(), 64 + pick(8) * 8)
        break
      case 1: // offset, size, padded size or a time of an object
        mutant.writeBigInt64LE(value(), slot + 17 + pick(5) * 8)
        break
      case 2: // type, or a small number in the extra field
        mutant.writeInt32LE(
          pick(2) === 0 ? 0x4000 + pick(13) : pick(8),
          slot + (pick(3) === 0 ? 201 : 0),
        )
        break
      case 3: // any byte of header or slot
        mutant.writeUInt8(pick(256), pick(2) === 0 ? pick(128) : slot + pick(585))
        break
      case 4: // any byte of the data
        mutant.writeUInt8(pick(256), 32_768 + pick(original.length - 32_768))
        break
      default: {
        // a stretch of bytes over another one in the data
        const [from, to] = [pick(mutant.length), 32_768 + pick(mutant.length - 32_768)]
        mutant.copy(mutant, to, from, from + 1 + pick(200))
      }
    }
  }
  return pick(20) === 0 ? mutant.subarray(0, pick(mutant.length + 1)) : mutant
}
