import assert from 'node:assert/strict'
import { readdirSync, readFileSync } from 'node:fs'
import { dirname, join, normalize } from 'node:path'
import test from 'node:test'

import { packageRoot } from '../../server/package-root.ts'

// The rings of the house: imports point inward only.
const domain = ['content', 'accounts', 'directory', 'keystore', 'builds', 'backup']
const presentations = [
  'library',
  'oci',
  'enterprise',
  'api',
  'ui',
  'transfer',
  'discovery',
  'build-api',
]
const composition = [
  'app.ts',
  'appliance.ts',
  'builder-parts.ts',
  'builder.ts',
  'database-server.ts',
  'fsck.ts',
  'health-checks.ts',
  'housekeeping.ts',
  'main.ts',
  'welcome.ts',
]
const isComposition = (file: string): boolean => composition.includes(file)
/** Presentations that stand beside their concept. */
const routesOfDomain = ['accounts/routes.ts', 'keystore/routes.ts', 'keystore/hkp2-routes.ts']

interface Source {
  /** Below server/, such as library/routes.ts. */
  readonly file: string
  /** library for library/routes.ts; empty for files of server/ itself and of sif/. */
  readonly ring: string
  readonly imports: readonly string[]
  readonly text: string
}

const sources = readSources()
const inner = new Set([...domain, ...presentations, 'http'])

test('there is something to check', () => {
  assert.ok(sources.length > 40)
  assert.ok(sources.flatMap((source) => source.imports).length > 100)
})

test('the foundation imports nothing that stands on it', () => {
  const foundation = sources.filter(
    ({ file, ring }) =>
      (ring === '' || ring === 'sif') && !isComposition(file) && !builtOnTop(file),
  )
  assert.ok(foundation.some(({ file }) => file === 'database.ts'))
  assertNone(
    foundation,
    (target) => isComposition(target) || inner.has(ringOf(target)) || target === 'express',
  )
})

test('the domain knows nothing of HTTP, of the dialects or of how it is wired', () => {
  const files = sources.filter(
    ({ file, ring }) => domain.includes(ring) && !routesOfDomain.includes(file),
  )
  assertNone(
    files,
    (target) =>
      target === 'express' ||
      target === 'helmet' ||
      target === 'ws' ||
      isComposition(target) ||
      ['http', ...presentations].includes(ringOf(target)),
  )
})

test('accounts know the contract of a directory, and nothing of LDAP or of a portal', () => {
  assertNone(
    sources.filter(({ ring }) => ring === 'accounts'),
    (target) => target === 'ldapts' || ringOf(target) === 'directory',
  )
})

test('a directory knows nothing of the database, of files or of content', () => {
  const files = sources.filter(({ ring }) => ring === 'directory')
  assert.ok(files.length > 10)
  const banned = ['pg', 'node:fs', 'node:fs/promises', 'database.ts']
  assertNone(files, (target) => banned.includes(target) || ringOf(target) === 'content')
})

test('the runner knows the server by the protocol alone, and the server nothing of the runner', () => {
  const files = sources.filter(({ ring }) => ring === 'runner')
  assert.ok(files.length > 10)
  const foundation = ['log.ts', 'host-list.ts', 'package-root.ts']
  assertNone(files, (target) => {
    const isFile = target.endsWith('.ts') || target.endsWith('.tsx')
    const isOwn = ringOf(target) === 'runner' || foundation.includes(target)
    return isFile ? !isOwn : ['pg', 'express'].includes(target)
  })
  assertNone(
    sources.filter(({ ring, file }) => ring !== 'runner' && file !== 'builder.ts'),
    (target) => ringOf(target) === 'runner',
  )
})

test('a builder host knows the server by the protocol alone, and starts runners as the server does', () => {
  const files = sources.filter(({ ring, file }) => ring === 'builder' || file === 'builder.ts')
  assert.ok(files.length > 4)
  const allowed = [
    'builder-settings.ts',
    'builds/executors/local.ts',
    'builds/executors/runner-logs.ts',
    'log.ts',
    'package-root.ts',
    'secret.ts',
    'unit.ts',
    'version.ts',
  ]
  const ofRunner = ['runner/limits/control-group.ts', 'runner/settings.ts']
  assertNone(files, (target) => {
    if (!target.endsWith('.ts')) return ['pg', 'express'].includes(target)
    const isOwn = ringOf(target) === 'builder'
    return !isOwn && !allowed.includes(target) && !ofRunner.includes(target)
  })
  assertNone(
    sources.filter(({ ring, file }) => ring !== 'builder' && file !== 'builder.ts'),
    (target) => ringOf(target) === 'builder' || target === 'builder.ts',
  )
})

test('figures are read beside the domain, which knows nothing of them', () => {
  const files = sources.filter(({ ring }) => ring === 'metrics')
  assert.ok(files.length > 5)
  assertNone(
    files,
    (target) =>
      target === 'express' ||
      isComposition(target) ||
      ['http', 'content', ...presentations].includes(ringOf(target)),
  )
  assertNone(
    sources.filter(({ ring, file }) => ring !== 'metrics' && !isComposition(file)),
    (target) => ringOf(target) === 'metrics' || target === 'prom-client',
  )
})

test('only the directory speaks LDAP', () => {
  assertNone(
    sources.filter(({ ring }) => ring !== 'directory'),
    (target) => target === 'ldapts',
  )
})

test('the keystore reads images, whose content knows nothing of keys; neither asks a directory', () => {
  const files = sources.filter(({ ring }) => ring === 'keystore')
  assert.ok(files.length > 10)
  assertNone(files, (target) => ringOf(target) === 'directory')
  assertNone(
    sources.filter(({ ring }) => ring === 'content'),
    (target) => ['keystore', 'directory'].includes(ringOf(target)),
  )
  const readers = ['keystore/image-checks.ts', 'keystore/verdict-rows.ts']
  assertNone(
    files.filter(({ file }) => !readers.includes(file)),
    (target) => ringOf(target) === 'content',
  )
})

test('backups copy what content and builds list, and neither knows of them', () => {
  const files = sources.filter(({ ring }) => ring === 'backup')
  assert.ok(files.length > 5)
  assertNone(files, (target) => ['keystore', 'directory'].includes(ringOf(target)))
  assertNone(
    sources.filter(({ ring }) => domain.includes(ring) && ring !== 'backup'),
    (target) => ringOf(target) === 'backup',
  )
})

test('builds push as anybody does: content and accounts know nothing of them', () => {
  const files = sources.filter(({ ring }) => ring === 'builds')
  assert.ok(files.length > 10)
  assertNone(files, (target) => ['keystore', 'directory'].includes(ringOf(target)))
  assertNone(
    sources.filter(({ ring }) => domain.includes(ring) && !['builds', 'backup'].includes(ring)),
    (target) => ringOf(target) === 'builds',
  )
})

test('only what runs on a thread of its own parses keys; the backup has a process of its own', () => {
  const server = sources.filter(({ ring, file }) => ring !== 'backup' && file !== 'fsck.ts')
  assertNone(server, (target) => target === 'backup/secrets-archive.ts')
  const parsers = sources.filter(({ imports }) => imports.includes('openpgp'))
  assert.deepEqual(parsers.map(({ file }) => file).sort(), [
    'backup/secrets-archive.ts',
    'keystore/public-key.ts',
    'keystore/self-signature.ts',
    'keystore/signature-check.ts',
  ])
})

test('accounts know nothing of content', () => {
  assertNone(
    sources.filter(({ ring }) => ring === 'accounts'),
    (target) => ringOf(target) === 'content',
  )
})

test('a presentation parses, calls and prints: no SQL, no files, no wiring', () => {
  const files = sources.filter(
    ({ file, ring }) => presentations.includes(ring) || routesOfDomain.includes(file),
  )
  const banned = ['pg', 'node:fs', 'node:fs/promises', 'database.ts', ...composition]
  assertNone(files, (target) => banned.includes(target))
})

test('presentations never import each other', () => {
  for (const source of sources.filter(({ ring }) => presentations.includes(ring))) {
    assertNone([source], (target) => {
      const ring = ringOf(target)
      return ring !== source.ring && presentations.includes(ring)
    })
  }
})

test('only the tables of the domain write SQL: http has none', () => {
  assertNone(
    sources.filter(({ ring }) => ring === 'http'),
    (target) => target === 'pg' || target === 'database.ts' || ringOf(target) === 'content',
  )
})

test('the environment is read in one place', () => {
  const readers = sources.filter(({ text }) => text.includes('process.env'))
  // The commands of a batch system are handed what tells them which cluster is theirs.
  const allowed = new Set([
    'builder/settings.ts',
    'builds/executors/batch-command.ts',
    'config.ts',
    'embedded-postgres.ts',
    // What the service manager tells this process alone.
    'unit.ts',
  ])
  assert.deepEqual(
    readers.map(({ file }) => file).filter((file) => !allowed.has(file)),
    [],
  )
  const postgres = sources.find(({ file }) => file === 'embedded-postgres.ts')
  for (const [, name] of postgres?.text.matchAll(/process\.env\W+(\w+)/g) ?? []) {
    assert.equal(name, 'PATH')
  }
})

/** Files of server/ itself that wire: they may import from any ring. */
function builtOnTop(file: string): boolean {
  return ['listener.ts', 'schedule.ts'].includes(file)
}

function assertNone(files: readonly Source[], isBanned: (target: string) => boolean): void {
  const found = files.flatMap(({ file, imports }) =>
    imports.filter(isBanned).map((target) => `server/${file} imports ${target}`),
  )
  assert.deepEqual(found, [])
}

function ringOf(file: string): string {
  return file.includes('/') && !file.startsWith('node:') ? (file.split('/', 1)[0] ?? '') : ''
}

function readSources(): Source[] {
  const server = join(packageRoot, 'server')
  return readdirSync(server, { recursive: true, encoding: 'utf8' })
    .filter((file) => /\.tsx?$/.test(file))
    .map((file) => {
      const text = readFileSync(join(server, file), 'utf8')
      const specifiers = [...text.matchAll(/(?:from|import)\s*\(?\s*'([^']+)'/g)]
      const imports = specifiers.map(([, name = '']) =>
        name.startsWith('.') ? normalize(join(dirname(file), name)) : name,
      )
      return { file, ring: ringOf(file), imports, text }
    })
}
