import assert from 'node:assert/strict'
import test from 'node:test'

import {
  digestOfHex,
  hexOf,
  imageId,
  libraryHashOf,
  parseArch,
  parseCollectionPath,
  parseDigest,
  parseEntityName,
  parseImageReference,
  parseLibraryHash,
  parseNewRepository,
  parseOciRepository,
  parseRepository,
  parseTag,
} from '../../server/content/names.ts'
import { Failure } from '../../server/failure.ts'

const defaults = { entity: 'library', collection: 'default' }
const hex = 'a'.repeat(64)
const uuid = '6f2c8d7a-1b3e-4c5d-8e9f-a0b1c2d3e4f5'

const repositories: readonly (readonly [string, string | undefined])[] = [
  ['e/c/n', 'e/c/n'],
  ['c/n', 'library/c/n'],
  ['n', 'library/default/n'],
  ['/c/n', 'library/c/n'],
  ['//e/c/n', 'e/c/n'],
  ['e1/c-2/n_3.x', 'e1/c-2/n_3.x'],
  ['a__b/c--d/e', 'a__b/c--d/e'],
  [`e/c/${'n'.repeat(128)}`, `e/c/${'n'.repeat(128)}`],
  ['', undefined],
  ['/', undefined],
  ['w/x/y/z', undefined],
  ['e//n', undefined],
  ['e/c/', undefined],
  ['e/c/..', undefined],
  ['../c/n', undefined],
  ['e/c/.', undefined],
  ['e/c/N', undefined],
  ['e/c/n\n', undefined],
  ['e/c/n\0', undefined],
  ['e/c/a..b', undefined],
  ['e/c/a___b', undefined],
  ['e/c/-a', undefined],
  ['e/c/a_', undefined],
  ['e/c/a%2f', undefined],
  [`e/c/${'n'.repeat(129)}`, undefined],
  [`${'e'.repeat(128)}/${'c'.repeat(64)}/${'n'.repeat(64)}`, undefined],
  ['imagefile/c/n', undefined],
  ['tags/c/n', undefined],
]
for (const [text, want] of repositories) {
  test(`container ${JSON.stringify(text.slice(0, 40))} is ${want?.slice(0, 40) ?? 'refused'}`, () => {
    if (want === undefined) assert.throws(() => parseNewRepository(text, defaults), refused)
    else assert.equal(parseNewRepository(text, defaults).path, want)
  })
}

test('a container that a client of the registry made may have slashes in its name', () => {
  const { entity, collection, container, path } = parseRepository('w/x/y/z', defaults)
  assert.deepEqual([entity, collection, container, path], ['w', 'x', 'y/z', 'w/x/y/z'])
  for (const text of ['w/x/y/', 'w/x//z', 'w/x/y/Z', 'w/x/y/../z']) {
    assert.throws(() => parseRepository(text, defaults), refused)
  }
})

const ociRepositories: readonly (readonly [string, string | undefined])[] = [
  ['alpine', 'library/default/alpine'],
  ['alice/bwa', 'alice/default/bwa'],
  ['alice/tools/bwa', 'alice/tools/bwa'],
  ['alice/tools/bio/bwa', 'alice/tools/bio/bwa'],
  ['', undefined],
  ['/alice/bwa', undefined],
  ['alice//bwa', undefined],
  ['alice/bwa/', undefined],
  ['Alice/bwa', undefined],
  ['../bwa', undefined],
  ['tags/bwa', undefined],
  ['imagefile/a/b', undefined],
  ['a/b/c-d__e.f_g--h', 'a/b/c-d__e.f_g--h'],
  ['a/b/c___d', undefined],
  ['a/b/c..d', undefined],
  ['a/b/c:d', undefined],
  ['a/./b', undefined],
  [`a/b/${'c'.repeat(129)}`, undefined],
  [`a/b/${'c'.repeat(125)}/${'d'.repeat(125)}`, `a/b/${'c'.repeat(125)}/${'d'.repeat(125)}`],
  [`a/b/${'c'.repeat(125)}/${'d'.repeat(126)}`, undefined],
]
for (const [text, want] of ociRepositories) {
  test(`repository ${JSON.stringify(text.slice(0, 40))} is ${want?.slice(0, 40) ?? 'refused'}`, () => {
    if (want === undefined) assert.throws(() => parseOciRepository(text, defaults), refused)
    else assert.equal(parseOciRepository(text, defaults).path, want)
  })
}

const collections: readonly (readonly [string, string | undefined])[] = [
  ['e/c', 'e/c'],
  ['c', 'library/c'],
  ['/c', 'library/c'],
  ['', undefined],
  ['a/b/c', undefined],
  ['e/', undefined],
  ['tags/c', undefined],
]
for (const [text, want] of collections) {
  test(`collection ${JSON.stringify(text)} is ${want ?? 'refused'}`, () => {
    if (want === undefined) {
      assert.throws(() => parseCollectionPath(text, defaults), refused)
      return
    }
    const { entity, collection } = parseCollectionPath(text, defaults)
    assert.equal(`${entity}/${collection}`, want)
  })
}

const references: readonly (readonly [string, string])[] = [
  ['e/c/n', 'tag latest of e/c/n'],
  ['e/c/n:V1.0_x-y', 'tag V1.0_x-y of e/c/n'],
  ['n:1', 'tag 1 of library/default/n'],
  [`e/c/n:sha256.${hex}`, `digest sha256:${hex} of e/c/n`],
  [`e/c/n:sif.${uuid}`, `uuid ${uuid} of e/c/n`],
  [`e/c/n:sha256.${hex.slice(1)}`, `tag sha256.${hex.slice(1)} of e/c/n`],
  [`e/c/n:sha256.${hex.toUpperCase()}`, `tag sha256.${hex.toUpperCase()} of e/c/n`],
  [`e/c/n:${'t'.repeat(128)}`, `tag ${'t'.repeat(128)} of e/c/n`],
  [`e/c/n:${'t'.repeat(129)}`, 'refused'],
  ['e/c/n:', 'refused'],
  [':latest', 'refused'],
  ['e/c/n:a:b', 'refused'],
  ['e/c/n:.a', 'refused'],
  ['e/c/n:-a', 'refused'],
  ['e/c/n:a/b', 'refused'],
  ['e/c/n:..', 'refused'],
  ['e/c/n:\0', 'refused'],
  ['host:80/e/c/n:t', 'refused'],
]
for (const [text, want] of references) {
  test(`reference ${JSON.stringify(text.slice(0, 30))} is ${want.slice(0, 40)}`, () => {
    if (want === 'refused') {
      assert.throws(() => parseImageReference(text, defaults), refused)
      return
    }
    const found = parseImageReference(text, defaults)
    const what =
      found.kind === 'tag' ? found.tag : found.kind === 'digest' ? found.digest : found.uuid
    assert.equal(`${found.kind} ${what} of ${found.repository.path}`, want)
  })
}

test('a digest has two spellings, and each is parsed from its own only', () => {
  const digest = parseDigest(`sha256:${hex}`)
  assert.equal(libraryHashOf(digest), `sha256.${hex}`)
  assert.equal(parseLibraryHash(`sha256.${hex}`), digest)
  assert.equal(hexOf(digest), hex)
  assert.equal(digestOfHex(hex), digest)
  const { path } = parseRepository('e/c/n', defaults)
  assert.equal(imageId(path, digest), `e/c/n:sha256.${hex}`)
  const bad = [
    '',
    hex,
    `sha256:${hex}0`,
    `sha256:${hex.slice(1)}`,
    `SHA256:${hex}`,
    `sha512:${hex}`,
  ]
  for (const text of [...bad, `sha256.${hex}`, `sha256:${hex.toUpperCase()}`, `sha256:${hex}\n`]) {
    assert.throws(() => parseDigest(text), refused)
  }
  for (const text of [...bad, `sha256:${hex}`, `sha256.${hex}/..`]) {
    assert.throws(() => parseLibraryHash(text), refused)
  }
})

test('a hash cannot be used as a tag', () => {
  assert.throws(() => parseTag(`sha256.${hex}`), refused)
  assert.throws(() => parseTag(`sif.${uuid}`), refused)
  assert.equal(parseTag('sha256.abc'), 'sha256.abc')
})

test('architectures are Go names', () => {
  for (const arch of ['amd64', '386', 'arm64', 'ppc64le', 's390x', 'riscv64']) {
    assert.equal(parseArch(arch), arch)
  }
  for (const text of ['', 'AMD64', 'x86_64', 'a'.repeat(17), 'amd64\n', '../x']) {
    assert.throws(() => parseArch(text), refused)
  }
})

test('a message shows what was wrong, short and without control characters', () => {
  const show = (text: string): string => {
    try {
      return parseEntityName(text)
    } catch (error) {
      return (error as Error).message
    }
  }
  assert.match(show('Bad Name'), /^"Bad Name" is not a valid entity name/)
  assert.match(show('a\u001b[31m\0\u0085b'), /^"a\?\[31m\?\?b" /)
  assert.ok(show('x'.repeat(100_000)).length < 300)
})

test('adversarial names are refused in a moment', () => {
  const attacks = [
    'a'.repeat(50_000),
    'a.'.repeat(50_000),
    'a--'.repeat(40_000),
    '_'.repeat(100_000),
  ]
  const start = performance.now()
  for (const attack of attacks) {
    assert.throws(() => parseEntityName(attack), refused)
    assert.throws(() => parseImageReference(`e/c/${attack}:${attack}`, defaults), refused)
    assert.throws(() => parseTag(`${attack}!`), refused)
  }
  const elapsed = performance.now() - start
  assert.ok(elapsed < 500, `${elapsed} ms`)
})

function refused(error: unknown): boolean {
  return error instanceof Failure && error.kind === 'invalid'
}
